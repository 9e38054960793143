import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { AnyStream, AnyUnary, Call, ServedService } from "./call.ts";
import { errors } from "./errors.ts";
import type { AppError } from "./errors.ts";
import { checkAccess } from "./rules/access.ts";
import { abortError, withinDeadline } from "./rules/deadline.ts";
import { toAppError } from "./rules/errors.ts";
import type { CallObserver, Observe, Traffic } from "./rules/observe.ts";
import { logCall } from "./rules/observe.ts";
import type { MessageCheck } from "./rules/validate.ts";
import { createMessageCheck } from "./rules/validate.ts";
import { withTraceparent } from "./trace.ts";

type AnyMessage = MessageShape<DescMessage>;

/**
 * What every call of a role goes through, from a socket or from a role in the same process: observe, errors, access,
 * validation, deadline, handler. Whatever it throws is an {@link AppError}.
 */
export interface Pipeline {
  readonly role: string;
  readonly services: readonly ServedService[];
  /** Unary and client-streaming methods; `input` is the request or the requests. */
  one(call: Call, input: unknown): Promise<AnyMessage>;
  /** Server and bidirectional streaming methods; `input` is the request or the requests. */
  many(call: Call, input: unknown): AsyncIterable<AnyMessage>;
}

/** Milliseconds that a stream may wait for its next message once the process stops. */
const PATIENCE_MS = 500;

/** What a role does about all its calls. */
export interface PipelineHooks {
  /**
   * Lets a call in, before anything else is done for it. What it answers is called once, at the end of the call, however
   * that comes. @throws AppError RATE_LIMITED, OVERLOADED
   */
  readonly admit?: (call: Call) => Promise<() => void>;
  /** Follows a call, from before access to the end. */
  readonly observe?: Observe;
}

/** @param stopping aborts when the process begins to stop. */
export function createPipeline(
  role: string,
  services: readonly ServedService[],
  stopping = new AbortController().signal,
  { admit, observe }: PipelineHooks = {},
): Pipeline {
  const check = createMessageCheck();
  const byType = new Map(services.map((served) => [served.service.typeName, served]));

  function handlerOf(method: DescMethod): unknown {
    const handler = byType.get(method.parent.typeName)?.handler(method);
    if (!handler) throw errors.UNSUPPORTED_METHOD();
    return handler;
  }

  return {
    role,
    services,

    async one(call, input) {
      const startedAt = performance.now();
      const traffic = streamsUp(call.method) ? { received: 0, sent: 0 } : undefined;
      let failure: AppError | undefined;
      let observer: CallObserver | undefined;
      let leave: (() => void) | undefined;
      try {
        const handler = handlerOf(call.method) as AnyUnary;
        leave = await admit?.(call);
        observer = observe?.(call, input);
        const request = checked(check, call, input, traffic);
        await begun(call, observer);
        const answered = await withinDeadline(call, () =>
          withTraceparent(call.header("traceparent"), () => handler(request, call)),
        );
        return create(call.method.output, answered);
      } catch (error) {
        failure = toAppError(error, call);
        throw failure;
      } finally {
        leave?.();
        logCall(call, startedAt, failure, traffic);
        observer?.end(failure, traffic);
      }
    },

    async *many(call, input) {
      const startedAt = performance.now();
      const traffic = { received: 0, sent: 0 };
      let failure: AppError | undefined;
      let finished = false;
      let observer: CallObserver | undefined;
      let leave: (() => void) | undefined;
      try {
        const handler = handlerOf(call.method) as AnyStream;
        leave = await admit?.(call);
        observer = observe?.(call, input);
        const request = checked(check, call, input, traffic);
        await begun(call, observer);
        for await (const response of untilAborted(call, stopping, handler(request, call))) {
          traffic.sent += 1;
          yield create(call.method.output, response);
        }
        finished = true;
      } catch (error) {
        failure = toAppError(error, call);
        throw failure;
      } finally {
        leave?.();
        // Neither finished nor failed: the reader went away and closed the iteration.
        if (!finished && !failure) failure = errors.CANCELED();
        logCall(call, startedAt, failure, traffic);
        observer?.end(failure, traffic);
      }
    },
  };
}

/** Not begun in time is not begun: the handler then does not run. */
async function begun(call: Call, observer: CallObserver | undefined): Promise<void> {
  if (observer) await withinDeadline(call, () => observer.begin());
}

function streamsUp(method: DescMethod): boolean {
  return method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
}

/** Access before validation: who may not call learns nothing about the request. */
function checked(check: MessageCheck, call: Call, input: unknown, traffic: Traffic | undefined): unknown {
  checkAccess(call);
  if (!streamsUp(call.method)) {
    check(call.method.input, input as AnyMessage);
    return input;
  }
  return checkedEach(check, call, input as AsyncIterable<AnyMessage>, traffic);
}

async function* checkedEach(
  check: MessageCheck,
  call: Call,
  inputs: AsyncIterable<AnyMessage>,
  traffic: Traffic | undefined,
): AsyncIterable<AnyMessage> {
  for await (const input of inputs) {
    if (traffic) traffic.received += 1;
    check(call.method.input, input);
    yield input;
  }
}

/**
 * Passes a stream on until the call is aborted, also while its producer waits for something else. When the process
 * stops, a server stream ends that waits, as a watch does: its reader resumes elsewhere.
 */
async function* untilAborted<T>(call: Call, stopping: AbortSignal, source: AsyncIterable<T>): AsyncIterable<T> {
  const iterator = source[Symbol.asyncIterator]();
  const mayWait = call.method.methodKind !== "server_streaming";
  const next = () => withTraceparent(call.header("traceparent"), () => iterator.next());
  let ended = false;
  try {
    for (;;) {
      const result = await withinDeadline(call, () => (mayWait ? next() : unlessStopping(stopping, next())));
      if (result.done) {
        ended = true;
        return;
      }
      yield result.value;
    }
  } catch (error) {
    throw call.signal.aborted ? abortError(call) : error;
  } finally {
    // Not awaited: a producer that is suspended in an await returns only once that settles.
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** The result, or OVERLOADED where it does not come soon after the process begins to stop. */
async function unlessStopping<T>(stopping: AbortSignal, result: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const start = () => {
    timer = setTimeout(() => {
      reject(errors.OVERLOADED({ message: "The server is stopping; resume the stream.", retryAfterMs: 100 }));
    }, PATIENCE_MS);
  };
  if (stopping.aborted) start();
  else stopping.addEventListener("abort", start, { once: true });
  try {
    return await Promise.race([result, promise]);
  } finally {
    clearTimeout(timer);
    stopping.removeEventListener("abort", start);
  }
}
