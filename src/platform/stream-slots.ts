import { errors } from "./errors.ts";

/** Milliseconds after which one of the caller's own streams may have ended. */
const RETRY_AFTER_MS = 1_000;

/**
 * Counts the streams that each caller has open at once.
 * @returns what takes a slot for a caller and answers how to give it back, once; it throws AppError RATE_LIMITED where
 * the caller has `most` of them.
 */
export function createStreamSlots(most: number): (who: string) => () => void {
  const open = new Map<string, number>();

  function giveBack(who: string): void {
    const left = (open.get(who) ?? 0) - 1;
    if (left > 0) open.set(who, left);
    else open.delete(who);
  }

  return (who) => {
    const count = open.get(who) ?? 0;
    if (count >= most) {
      throw errors.RATE_LIMITED({
        message: "Too many streams are open; end one of them.",
        retryAfterMs: RETRY_AFTER_MS,
        quota: { subject: "streams", description: `At most ${String(most)} streams open at once.` },
      });
    }
    open.set(who, count + 1);
    return () => {
      giveBack(who);
    };
  };
}
