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

/** Rows of one statement: it holds its locks for a moment only. */
const AT_ONCE = 1_000;

/** Prunes a thousand rows at a time, until there are fewer. @param prune deletes so many at most */
export async function pruneInBatches(
  prune: (most: number) => Promise<{ readonly numAffectedRows?: bigint }>,
): Promise<void> {
  for (;;) {
    const { numAffectedRows = 0n } = await prune(AT_ONCE);
    if (numAffectedRows < BigInt(AT_ONCE)) return;
  }
}
