import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, encodeEnvelope } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  createEndStreamSerialization,
  endStreamFlag,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { compressionGzip } from "@connectrpc/connect-node";
import type { RpcHandler } from "./edge.ts";
import type { AppError } from "./errors.ts";
import { errors } from "./errors.ts";
import { REQUEST_ID_HEADER, receivedId } from "./request-id.ts";
import { fromInboundError, toConnectError, wireRegistry } from "./wire.ts";

type RpcRequest = Parameters<RpcHandler>[0];
type RpcResponse = Awaited<ReturnType<RpcHandler>>;
type Bytes = AsyncIterable<Uint8Array>;

/** Hears what no handler of ours hears. */
export interface EdgeListener {
  /** connect-es refused a message; the caller gets this error. */
  onRefused(error: AppError, requestId: string): void;
  /** A response could not be written, for another reason than that the caller went away. */
  onFailed(cause: unknown): void;
}

const endStream = createEndStreamSerialization({ registry: wireRegistry });

/**
 * The handler, with errors of connect-es itself brought into our form. It parses requests before any interceptor runs,
 * so an unreadable message is answered with its own words, without an ErrorInfo, and in binary as an internal error.
 * Errors are few: a response that is none is passed on unread. Every error of our own code has details, so what has
 * none is the framework's.
 */
export function mendErrors(handler: RpcHandler, listener: EdgeListener): RpcHandler {
  async function mended(request: RpcRequest): Promise<RpcResponse> {
    const response = await handler(request);
    const requestId = request.contextValues?.get(receivedId) ?? "";
    const mend: Mend = (error) => {
      if (error.details.length > 0) return undefined;
      // Of a request that breaks off connect-es makes an internal error; nobody is left to read any.
      const mended = request.signal.aborted ? errors.CANCELED() : fromInboundError(error);
      listener.onRefused(mended, requestId);
      response.header?.set(REQUEST_ID_HEADER, requestId);
      // What was not read of the request would be taken for the next one: the connection hangs. Headers are written
      // after the first chunk was read, so this still is in time.
      if (request.httpVersion.startsWith("1.")) response.header?.set("connection", "close");
      return toConnectError(mended);
    };
    if (response.body === undefined) {
      const error = errors.UNSUPPORTED_METHOD({ message: `${handler.method.name} is not served in this form.` });
      listener.onRefused(error, requestId);
      return withBody(response, error, requestId);
    }
    if (response.status >= 400) return mendUnary(response, mend);
    const type = response.header?.get("content-type") ?? "";
    const onFailed = (cause: unknown) => listener.onFailed(cause);
    if (type.startsWith("application/connect+")) {
      const body = guarded(response.body, onFailed, (chunk) => mendEndOfStream(chunk, mend));
      return { ...response, body };
    }
    if (type.startsWith("application/grpc-web")) {
      const body = guarded(response.body, onFailed, (chunk) => mendWebTrailer(chunk, mend));
      return { ...response, body };
    }
    const { status, trailer } = response;
    let told: Headers | undefined;
    return {
      status,
      ...(response.header && { header: response.header }),
      body: guarded(response.body, onFailed),
      // Read, twice, when the body is through: until then connect-es has not written the status.
      get trailer() {
        told ??= trailer && mendTrailer(trailer, mend);
        return told;
      },
    } as RpcResponse;
  }

  return Object.assign(mended, { ...handler });
}

/** The error to send instead, or undefined where it is right as it is. */
type Mend = (error: ConnectError) => ConnectError | undefined;

/** A bare HTTP status, of a request that no protocol knows: a GET without its parameters, say. */
function withBody(response: RpcResponse, error: AppError, requestId: string): RpcResponse {
  const header = new Headers(response.header);
  header.set(REQUEST_ID_HEADER, requestId);
  header.set("content-type", "application/json");
  const body = errorToJsonBytes(toConnectError(error), { registry: wireRegistry });
  return { status: response.status, header, body: once(body) };
}

async function mendUnary(response: RpcResponse, mend: Mend): Promise<RpcResponse> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk);
  const sent: Uint8Array = Buffer.concat(chunks);
  const json = response.header?.get("content-encoding") === "gzip" ? await inflated(sent) : sent;
  const error = mend(errorFromJsonBytes(json, undefined, new ConnectError("", Code.Internal)));
  if (!error) return { ...response, body: once(sent) };
  const body = errorToJsonBytes(error, { registry: wireRegistry });
  const header = new Headers(response.header);
  header.delete("content-encoding");
  header.set("content-length", String(body.byteLength));
  return { status: codeToHttpStatus(error.code), header, body: once(body) };
}

/** connect-es writes a chunk per message, with the flags first. */
async function mendEndOfStream(chunk: Uint8Array, mend: Mend): Promise<Uint8Array> {
  if (!hasFlag(chunk, endStreamFlag)) return chunk;
  const end = endStream.parse(await messageOf(chunk));
  const error = end.error && mend(end.error);
  return error ? encodeEnvelope(endStreamFlag, endStream.serialize({ metadata: end.metadata, error })) : chunk;
}

async function mendWebTrailer(chunk: Uint8Array, mend: Mend): Promise<Uint8Array> {
  if (!hasFlag(chunk, trailerFlag)) return chunk;
  const trailer = trailerParse(await messageOf(chunk));
  const mended = mendTrailer(trailer, mend);
  return mended === trailer ? chunk : encodeEnvelope(trailerFlag, trailerSerialize(mended));
}

function mendTrailer(trailer: Headers, mend: Mend): Headers {
  if (trailer.get("grpc-status") === "0") return trailer;
  const found = findTrailerError(trailer);
  const error = found && mend(found);
  return error ? setTrailerStatus(new Headers(trailer), error) : trailer;
}

function hasFlag(chunk: Uint8Array, flag: number): boolean {
  return ((chunk[0] ?? 0) & flag) === flag;
}

async function messageOf(chunk: Uint8Array): Promise<Uint8Array> {
  const data = chunk.subarray(5);
  return hasFlag(chunk, compressedFlag) ? inflated(data) : data;
}

/** Only gzip is accepted, so nothing else is sent. */
async function inflated(data: Uint8Array): Promise<Uint8Array> {
  return compressionGzip.decompress(new Uint8Array(data), 1_048_576);
}

async function* once(chunk: Uint8Array): Bytes {
  yield chunk;
}

/**
 * The body, told apart from what goes wrong while it is written. connect-fastify prints such errors with console.error
 * unless their code means that the caller went away, so that code is put on them once ours has been told.
 */
function guarded(
  body: Bytes,
  onFailed: (cause: unknown) => void,
  change?: (chunk: Uint8Array) => Promise<Uint8Array>,
): Bytes {
  return {
    [Symbol.asyncIterator]() {
      const chunks = body[Symbol.asyncIterator]();
      return {
        async next() {
          try {
            const next = await chunks.next();
            if (next.done || !change) return next;
            return { done: false, value: await change(next.value) };
          } catch (cause) {
            // Cut short: without its end of stream the caller takes the response for broken, as it is.
            onFailed(cause);
            return { done: true, value: undefined };
          }
        },
        async throw(cause: unknown) {
          silence(cause, onFailed);
          return (await chunks.throw?.(cause)) ?? { done: true, value: undefined };
        },
        async return() {
          return (await chunks.return?.()) ?? { done: true, value: undefined };
        },
      };
    },
  };
}

const callerIsGone = new Set([
  "ECANCELED",
  "ECONNRESET",
  "EPIPE",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_WRITE_AFTER_END",
  "ERR_HTTP2_INVALID_STREAM",
]);

function silence(cause: unknown, onFailed: (cause: unknown) => void): void {
  if (!(cause instanceof Error)) return onFailed(cause);
  const code = "code" in cause ? String(cause.code) : "";
  if (!callerIsGone.has(code)) onFailed(cause);
  Object.assign(cause, { code: "ECONNRESET" });
}
