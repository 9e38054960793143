import type { Logger } from "./logger.ts";

/**
 * Prunes again and again until it is told to stop, which waits for the run under way. A run that fails is told, and the
 * next one makes up for it.
 * @param what is pruned, in the words of a log: "old deliveries"
 */
export function keepPruning(
  what: string,
  everyMs: number,
  prune: () => Promise<unknown>,
  log: Logger,
): () => Promise<void> {
  let running: Promise<unknown> = Promise.resolve();
  const timer = setInterval(() => {
    running = running.then(prune).catch((error: unknown) => {
      log.warn({ err: error }, `${what} were not pruned`);
    });
  }, everyMs);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await running;
  };
}
