import type { Logger } from "../../platform/logger.ts";

/** Milliseconds between runs. */
const EVERY_MS = 3_600_000;

/** Forgets old deliveries every hour, until it is told to stop. `prune` forgets a batch, and answers how many. */
export function keepPruning(prune: () => Promise<number>, log: Logger): () => Promise<void> {
  let running = Promise.resolve();
  const timer = setInterval(() => {
    running = running
      .then(async () => {
        while ((await prune()) > 0);
      })
      .catch((error: unknown) => {
        log.warn({ err: error }, "old deliveries were not pruned");
      });
  }, EVERY_MS);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await running;
  };
}
