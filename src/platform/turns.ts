import { errors } from "./errors.ts";

/** Milliseconds after which a call that found no place is worth another try. */
const RETRY_AFTER_MS = 1_000;

/**
 * Runs work first come, first served, so many at once: what waits here holds no connection, no thread and no lock. The
 * function throws AppError OVERLOADED where too many wait already, and the reason of the signal where it has aborted when
 * the turn comes.
 */
export function createTurns(
  atOnce: number,
  mostWaiting: number,
): <T>(signal: AbortSignal | undefined, work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let atWork = 0;

  return async (signal, work) => {
    if (atWork < atOnce) atWork += 1;
    else if (waiting.length >= mostWaiting) throw errors.OVERLOADED({ retryAfterMs: RETRY_AFTER_MS });
    // Whoever is done hands its place on, so that nobody who comes later takes it.
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else atWork -= 1;
    }
  };
}
