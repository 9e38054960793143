import type { DescMethod } from "@bufbuild/protobuf";
import type { Call, Identity } from "./call.ts";
import type { AppError } from "./errors.ts";
import { errors } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { STREAM_LIFETIME_MS, deadlineOf } from "./rules/deadline.ts";

export interface IncomingCall {
  readonly role: string;
  readonly method: DescMethod;
  readonly requestId: string;
  readonly identity: Identity;
  readonly caller: string | undefined;
  readonly outside: boolean;
  readonly clientAddress?: string;
  /** When it began to arrive, in epoch milliseconds; now where it is left out. */
  readonly arrivedAt?: number;
  /** What the caller allows; undefined where it does not say. */
  readonly timeoutMs: number | undefined;
  /** Aborts when the caller goes away or the process must end. */
  readonly parent: AbortSignal | undefined;
  /** What the parent's abort means to the caller; CANCELED where it does not say. */
  readonly reasonOf?: (reason: unknown) => AppError;
  readonly log: Logger;
  readonly requestHeader: Pick<Headers, "get">;
  readonly responseHeader: Pick<Headers, "set">;
}

/** A call together with the end of its life, which frees its timer. */
export interface OpenCall {
  readonly call: Call;
  close(): void;
}

/** Opens a call. Its abort signal and the deadline's timer are made on first use. */
export function openCall(incoming: IncomingCall): OpenCall {
  const { parent, identity, requestHeader, responseHeader } = incoming;
  const startedAt = incoming.arrivedAt ?? Date.now();
  const deadline = deadlineOf(incoming.method, startedAt, incoming.timeoutMs);
  let controller: AbortController | undefined;
  let timer: NodeJS.Timeout | undefined;
  let forgetRevocation: (() => void) | undefined;
  const onParentAbort = () => {
    controller?.abort(incoming.reasonOf?.(parent?.reason) ?? errors.CANCELED());
  };

  function signal(): AbortSignal {
    if (controller) return controller.signal;
    controller = new AbortController();
    if (parent?.aborted) onParentAbort();
    else parent?.addEventListener("abort", onParentAbort, { once: true });
    const end = endOf(incoming, startedAt, deadline);
    const leftMs = end.at - Date.now();
    if (leftMs <= 0) controller.abort(end.error());
    else timer = setTimeout(() => controller?.abort(end.error()), leftMs).unref();
    if (incoming.method.methodKind !== "unary") {
      forgetRevocation = identity.onRevoked?.(() => controller?.abort(errors.TOKEN_INVALID()));
    }
    return controller.signal;
  }

  const { role, method, requestId, caller, outside } = incoming;
  let log: Logger | undefined;
  const call: Call = {
    role,
    method,
    requestId,
    subject: identity.subject,
    caller,
    outside,
    clientAddress: incoming.clientAddress,
    deadline,
    get signal() {
      return signal();
    },
    get log() {
      log ??= incoming.log.child({ role, requestId });
      return log;
    },
    header: (name) => requestHeader.get(name) ?? undefined,
    setHeader: (name, value) => {
      responseHeader.set(name, value);
    },
  };

  return {
    call,
    close() {
      clearTimeout(timer);
      forgetRevocation?.();
      parent?.removeEventListener("abort", onParentAbort);
    },
  };
}

/** When a call ends by itself, and why: a stream also with its age, and with the token of its caller. */
function endOf(
  { method, identity }: IncomingCall,
  startedAt: number,
  deadline = Infinity,
): { readonly at: number; readonly error: () => AppError } {
  if (method.methodKind === "unary") return { at: deadline, error: errors.DEADLINE };
  const ends = [
    { at: deadline, error: errors.DEADLINE },
    { at: identity.expiresAt ?? Infinity, error: errors.TOKEN_EXPIRED },
    { at: startedAt + STREAM_LIFETIME_MS, error: streamIsOver },
  ];
  return ends.reduce((first, end) => (end.at < first.at ? end : first));
}

function streamIsOver(): AppError {
  return errors.OVERLOADED({
    message: "The stream has reached the age that a stream may have; open it again.",
    retryAfterMs: 100,
  });
}
