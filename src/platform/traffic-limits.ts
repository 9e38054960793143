import type { ServerResponse } from "node:http";
import { constants } from "node:http2";
import type { Http2ServerResponse } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { RpcHandler } from "./edge.ts";
import { within } from "./within.ts";

/** Milliseconds. */
export interface TrafficLimits {
  /** How long a request, or one message of a stream upwards, may take to arrive once it has begun. */
  readonly requestMs: number;
  /** How long a client may neither send the next message of its stream nor take what is sent to it. */
  readonly streamIdleMs: number;
}

type Bytes = AsyncIterable<Uint8Array>;

/**
 * The handler, with requests that end in a DEADLINE where they do not arrive in time. Only the time that is spent waiting
 * for the client counts: a stream whose messages are not wanted yet is not late.
 */
export function limitArrival(handler: RpcHandler, limits: TrafficLimits): RpcHandler {
  const { methodKind } = handler.method;
  const streamsUp = methodKind === "client_streaming" || methodKind === "bidi_streaming";
  const limited = (request: Parameters<RpcHandler>[0]) => {
    if (request.body === null || typeof request.body !== "object" || !(Symbol.asyncIterator in request.body)) {
      return handler(request);
    }
    const body = streamsUp ? arrivingStream(request.body, limits) : arriving(request.body, limits.requestMs);
    return handler({ ...request, body });
  };
  return Object.assign(limited, { ...handler });
}

function arriving(body: Bytes, requestMs: number): Bytes {
  return readEach(body, () => {
    const endsAt = performance.now() + requestMs;
    return (next) => within(Math.max(0, endsAt - performance.now()), next, () => late("The request", requestMs));
  });
}

function arrivingStream(body: Bytes, { requestMs, streamIdleMs }: TrafficLimits): Bytes {
  return readEach(body, () => {
    const messages = createMessageFollower();
    let leftMs = requestMs;
    return async (next) => {
      const startedAt = performance.now();
      const read = messages.isBetween()
        ? await within(streamIdleMs, next, () => late("The next message of the stream", streamIdleMs))
        : await within(leftMs, next, () => late("A message of the stream", requestMs));
      if (!read.done) leftMs = messages.follow(read.value) ? requestMs : leftMs - (performance.now() - startedAt);
      return read;
    };
  });
}

type Read = IteratorResult<Uint8Array, unknown>;

/** The body, each of whose reads goes through a function that is made when reading begins. */
function readEach(body: Bytes, begin: () => (next: Promise<Read>) => Promise<Read>): Bytes {
  return {
    [Symbol.asyncIterator]() {
      const chunks = body[Symbol.asyncIterator]();
      const read = begin();
      return { next: () => read(chunks.next()), return: async () => (await chunks.return?.()) ?? finished };
    },
  };
}

const finished = { done: true, value: undefined } as const;

function late(what: string, ms: number): unknown {
  return new ConnectError(`${what} did not arrive within ${String(ms / 1_000)} s.`, Code.DeadlineExceeded);
}

/** Bytes before each message of a stream: flags, and its length. */
const PREFIX_BYTES = 5;

/** Follows where messages begin and end in the bytes of a stream, without keeping any. */
function createMessageFollower() {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  let prefixBytes = 0;
  let missing = 0;
  return {
    /** Whether no message has begun that is not yet complete. */
    isBetween: () => prefixBytes === 0,
    /** Answers whether these bytes completed a message. */
    follow(chunk: Uint8Array): boolean {
      let completed = false;
      for (let at = 0; at < chunk.length; ) {
        const taken = Math.min(prefixBytes < PREFIX_BYTES ? PREFIX_BYTES - prefixBytes : missing, chunk.length - at);
        if (prefixBytes < PREFIX_BYTES) {
          prefix.set(chunk.subarray(at, at + taken), prefixBytes);
          prefixBytes += taken;
          if (prefixBytes === PREFIX_BYTES) missing = prefix.readUInt32BE(1);
        } else missing -= taken;
        at += taken;
        if (prefixBytes === PREFIX_BYTES && missing === 0) {
          prefixBytes = 0;
          completed = true;
        }
      }
      return completed;
    },
  };
}

/** How long a client may go on to send what nobody reads any more. */
const LINGER_MS = 1_000;

/** Cuts off a client that takes nothing of its response for so long, or goes on to send when it has all of it. */
export function limitResponse(response: ServerResponse | Http2ServerResponse, streamIdleMs: number): void {
  response.setTimeout(streamIdleMs);
  response.on("timeout", () => {
    // A stream that has nothing to send, as a watch, is as silent.
    if (response.writableLength > 0) response.destroy();
  });
  if (!("stream" in response)) return;
  const { stream } = response;
  stream.once("finish", () => {
    if (stream.readableEnded) return;
    // Not at once: a reset would overtake the trailers.
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), LINGER_MS).unref();
    stream.once("close", () => clearTimeout(timer));
  });
}
