/** Milliseconds that closing waits for the run under way. */
const CLOSE_MS = 2_000;

/** A loop that runs again when it is woken, or when the time that its last run asked for has passed. */
export interface Worker {
  /** A wake during a run causes another one. */
  wake(): void;
  /** Begins no other run, and waits for the one under way, but not for ever. */
  close(): Promise<void>;
}

/**
 * Repeats `run`, which answers after how many milliseconds it wants to run again, and does not reject. While it asks for
 * `quiet` wakes are not listened to: a bus that is down is not hammered.
 */
export function startWorker(run: () => Promise<{ readonly afterMs: number; readonly quiet?: boolean }>): Worker {
  let closed = false;
  let woken = false;
  let quiet = false;
  let rouse: (() => void) | undefined;

  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      function done() {
        clearTimeout(timer);
        rouse = undefined;
        resolve();
      }
      rouse = done;
    });

  const loop = async () => {
    while (!closed) {
      woken = false;
      const next = await run();
      quiet = next.quiet ?? false;
      // `closed` and `woken` may have changed meanwhile.
      if (next.afterMs > 0 && !stopped() && (quiet || !isWoken())) await wait(next.afterMs);
      quiet = false;
    }
  };
  const stopped = () => closed;
  const isWoken = () => woken;
  const done = loop();

  return {
    wake() {
      woken = true;
      if (!quiet) rouse?.();
    },
    async close() {
      closed = true;
      rouse?.();
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, CLOSE_MS);
      await Promise.race([done, promise]);
      clearTimeout(timer);
    },
  };
}
