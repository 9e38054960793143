import type { DescMethod } from "@bufbuild/protobuf";
import type { Call } from "../call.ts";
import { AppError, errors } from "../errors.ts";

/** Milliseconds that a unary call may take where its caller does not say. */
export const DEFAULT_TIMEOUT_MS = 30_000;

/** Milliseconds that a unary call may take at most, whatever its caller says. */
export const MAX_TIMEOUT_MS = 120_000;

/** Milliseconds that a stream may live at most; it is resumed then. */
export const STREAM_LIFETIME_MS = 3_600_000;

/** The deadline of a call that arrives now, in epoch milliseconds. Undefined: a stream whose caller does not say. */
export function deadlineOf({ methodKind }: DescMethod, now: number, timeoutMs: number | undefined): number | undefined {
  if (methodKind !== "unary") return timeoutMs === undefined ? undefined : now + Math.max(0, timeoutMs);
  return now + Math.max(0, Math.min(timeoutMs ?? DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS));
}

/**
 * The result of the work, or DEADLINE or CANCELED as soon as the call's signal says so: a handler that does not look
 * at the signal must not hold its caller.
 */
export async function withinDeadline<T>(call: Call, work: () => Promise<T>): Promise<T> {
  const { signal } = call;
  if (signal.aborted) throw abortError(call);
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(abortError(call));
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
  // Its rejection is observed by the race; this keeps it quiet where the work is done first.
  aborted.catch(() => undefined);
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    if (onAbort) signal.removeEventListener("abort", onAbort);
  }
}

/** What an aborted call answers: the signal's own reason, DEADLINE where its time is over, else CANCELED. */
export function abortError(call: Call): AppError {
  const reason: unknown = call.signal.reason;
  if (reason instanceof AppError) return reason;
  return call.deadline !== undefined && Date.now() >= call.deadline ? errors.DEADLINE() : errors.CANCELED();
}
