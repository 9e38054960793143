import { setTimeout as delay } from "node:timers/promises";
import { errors } from "./errors.ts";

/** Milliseconds after which one of the caller's own streams may have ended. */
const RETRY_AFTER_MS = 1_000;

/**
 * Streams that a caller may begin at once, and milliseconds from one to the next after that: a page opens a handful, and
 * whoever opens a hundred lets the calls of others through in between.
 */
const AT_ONCE = 8;
const APART_MS = 10;

interface Caller {
  open: number;
  /** Up to when the beginnings so far would reach, one after the other; by `performance.now`. */
  paidUntil: number;
}

/**
 * Counts the streams that each caller has open at once, and spaces their beginnings.
 * @returns what takes a slot for a caller, waits for its moment, and answers how to give it back, once; it throws AppError
 * RATE_LIMITED where the caller has `most` of them, and the reason of the signal where that aborts first.
 */
export function createStreamSlots(most: number): (who: string, signal: AbortSignal) => Promise<() => void> {
  const callers = new Map<string, Caller>();

  function giveBack(who: string, caller: Caller): void {
    caller.open -= 1;
    if (caller.open === 0) callers.delete(who);
  }

  return async (who, signal) => {
    const caller = callers.get(who) ?? { open: 0, paidUntil: 0 };
    if (caller.open >= most) {
      throw errors.RATE_LIMITED({
        message: "Too many streams are open; end one of them.",
        retryAfterMs: RETRY_AFTER_MS,
        quota: { subject: "streams", description: `At most ${String(most)} streams open at once.` },
      });
    }
    callers.set(who, caller);
    caller.open += 1;
    const now = performance.now();
    caller.paidUntil = Math.max(now, caller.paidUntil) + APART_MS;
    const waitMs = caller.paidUntil - now - AT_ONCE * APART_MS;
    try {
      if (waitMs > 0) await delay(waitMs, undefined, { signal });
    } catch {
      giveBack(who, caller);
      throw signal.reason;
    }
    return () => {
      giveBack(who, caller);
    };
  };
}
