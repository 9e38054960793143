import { errors } from "./errors.ts";

export interface CallGateOptions {
  /** Calls that are inside at once. */
  readonly atOnce: number;
  /** Calls that may wait; one more is refused at once. */
  readonly mostWaiting: number;
  /** Milliseconds that a call waits at most. */
  readonly waitMs: number;
}

/** Milliseconds after which a call that found no place is worth another try. */
const RETRY_AFTER_MS = 1_000;

/**
 * Bounds the calls that run at once: what comes over it waits a moment, first come, first served, and the rest is refused
 * while that is still cheap.
 * @returns what lets a call in and answers how it leaves, once. It throws AppError OVERLOADED where too many wait already
 * or the wait is over, and the reason of the signal where that aborts first.
 */
export function createCallGate(options: CallGateOptions): (signal: AbortSignal) => Promise<() => void> {
  const { atOnce, mostWaiting, waitMs } = options;
  const waiting = new Set<() => void>();
  let inside = 0;

  function leave(): void {
    const [next] = waiting;
    // Its place is handed on, so that nobody who comes later takes it.
    if (next) next();
    else inside -= 1;
  }

  async function turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Out of the queue before anything else happens: a place that is handed to whoever has given up is lost.
    const begin = () => {
      waiting.delete(begin);
      resolve();
    };
    const giveUp = (reason: unknown) => {
      waiting.delete(begin);
      reject(reason as Error);
    };
    const onAbort = () => {
      giveUp(signal.reason);
    };
    waiting.add(begin);
    const timer = setTimeout(() => {
      giveUp(overloaded());
    }, waitMs);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  return async (signal) => {
    if (inside < atOnce) inside += 1;
    else {
      if (waiting.size >= mostWaiting) throw overloaded();
      await turn(signal);
    }
    return leave;
  };
}

function overloaded() {
  return errors.OVERLOADED({ retryAfterMs: RETRY_AFTER_MS });
}
