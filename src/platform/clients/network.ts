import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import type { ContextValues, StreamResponse, Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BrokenCircuitError,
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  IsolatedCircuitError,
  circuitBreaker,
  handleWhen,
} from "cockatiel";
import type { Assertions } from "../assertion.ts";
import { ASSERTION_HEADER } from "../assertion.ts";
import type { AppError } from "../errors.ts";
import { PeerError, errors } from "../errors.ts";
import { newId } from "../id.ts";
import { REQUEST_ID_HEADER } from "../request-id.ts";
import { fromConnectError } from "../wire.ts";
import type { Connections } from "./connections.ts";
import { servedCall } from "./serving.ts";

export interface NetworkTransportOptions {
  /** The role that calls. */
  readonly caller: string;
  /** Whether it passes on the calls of outsiders. */
  readonly edge: boolean;
  /** The role that is called. */
  readonly peer: string;
  readonly connections: Connections;
  readonly assertions: Assertions;
}

/**
 * Calls a role over HTTP/2. A breaker opens after five calls in a row that did not reach it, and lets one try to connect
 * after a quarter of a second, then ever more seldom, every second at the least. The try is no call: all others
 * wait for it, and the first answer of a call may take long, as that of a watch does.
 */
export function networkTransport({ caller, edge, peer, connections, assertions }: NetworkTransportOptions): Transport {
  const breaker = circuitBreaker(handleWhen(isUnreachable), {
    breaker: new ConsecutiveBreaker(5),
    halfOpenAfter: new ExponentialBackoff({ initialDelay: 250, maxDelay: 1_000 }),
  });

  async function headers(
    header: ConstructorParameters<typeof Headers>[0],
    values: ContextValues | undefined,
  ): Promise<Headers> {
    const served = values?.get(servedCall);
    const all = new Headers(header);
    all.set(REQUEST_ID_HEADER, served?.requestId ?? newId());
    const subject = served?.subject ?? ({ kind: "service", role: caller } as const);
    all.set(ASSERTION_HEADER, await assertions.sign(peer, subject, edge && served !== undefined));
    return all;
  }

  function failed(error: unknown, signal: AbortSignal | undefined): never {
    if (error instanceof PeerError) throw error;
    if (error instanceof ConnectError) {
      const answered = fromConnectError(error);
      throw new PeerError(peer, isLost(error, answered, signal) ? unreachable(error) : answered);
    }
    if (error instanceof BrokenCircuitError || error instanceof IsolatedCircuitError || isSystemError(error)) {
      throw new PeerError(peer, unreachable(error));
    }
    throw error;
  }

  function unreachable(cause: unknown): AppError {
    return errors.PEER_DOWN({ retryAfterMs: 1_000, metadata: { peer }, cause });
  }

  /** A role's own work goes at its own pace: it neither opens the breaker of the calls that it serves nor heeds it. */
  function guarded<T>(
    signal: AbortSignal | undefined,
    values: ContextValues | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    const onError = (error: unknown) => failed(error, signal);
    if (values?.get(servedCall) === undefined) return work().catch(onError);
    return breaker.execute(() => work().catch(onError)).catch(onError);
  }

  return {
    async unary(method, signal, timeoutMs, header, input, values) {
      if (breaker.state !== CircuitState.Closed && values?.get(servedCall) !== undefined) {
        await guarded(signal, values, async () => (await connections.next("call")).reach(signal));
      }
      return guarded(signal, values, async () => {
        const { transport } = await connections.next("call");
        return transport.unary(method, signal, whole(timeoutMs), await headers(header, values), input);
      });
    },

    async stream(method, signal, timeoutMs, header, inputs, values) {
      // connect-es makes an internal error of its own of what the requests fail with.
      let unsendable: { readonly error: unknown } | undefined;
      async function* requests(): typeof inputs {
        const iterator = inputs[Symbol.asyncIterator]();
        let ended = false;
        try {
          for (;;) {
            // Not what connect-es throws in at the yield: that is how the connection failed.
            const next = await iterator.next().catch((error: unknown) => {
              ended = true;
              unsendable = { error };
              throw error;
            });
            ended ||= next.done === true;
            if (next.done) return;
            yield next.value;
          }
        } finally {
          // Not awaited: a source that is suspended in an await returns only once that settles.
          if (!ended) void Promise.resolve(iterator.return?.()).catch(() => undefined);
        }
      }
      function failedStream(error: unknown): never {
        if (unsendable) throw unsendable.error;
        failed(error, signal);
      }
      const transport = await guarded(signal, values, async () => {
        const way = await connections.next("stream");
        await way.reach(signal);
        return way.transport;
      });
      // Behind the breaker: what a client cannot send is no failure of the peer.
      const response = await transport
        .stream(method, signal, whole(timeoutMs), await headers(header, values), requests())
        .catch(failedStream);
      async function* responses(): AsyncIterable<MessageShape<DescMessage>> {
        try {
          yield* response.message;
        } catch (error) {
          failedStream(error);
        }
      }
      return { ...response, message: responses() } as StreamResponse<typeof method.input, typeof method.output>;
    },
  };
}

/** Whether the peer itself answered, be it that it is unavailable. */
function isReached({ kind, details }: AppError): boolean {
  return kind !== "unavailable" || details.raw !== undefined;
}

function isUnreachable(error: unknown): boolean {
  return error instanceof PeerError && !isReached(error.error);
}

/** What a broken connection or a stream that the peer refused looks like: a code without an ErrorInfo. */
function isLost(error: ConnectError, { details }: AppError, signal: AbortSignal | undefined): boolean {
  if (details.raw !== undefined || signal?.aborted) return false;
  switch (error.code) {
    case Code.Unavailable:
    case Code.Aborted:
    case Code.Internal:
    case Code.Unknown:
      return true;
    case Code.Canceled:
      // A stream that was reset, and not by us.
      return true;
    case Code.ResourceExhausted:
      // The peer's HTTP/2 says ENHANCE_YOUR_CALM so; a message over its limit is the other case.
      return !error.rawMessage.includes("MaxBytes");
    default:
      return false;
  }
}

/** A failure of the system itself, for example of the look-up of a name. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}

/** Milliseconds as the protocols write them: a fraction is malformed. */
function whole(timeoutMs: number | undefined): number | undefined {
  return timeoutMs === undefined ? undefined : Math.max(1, Math.ceil(timeoutMs));
}
