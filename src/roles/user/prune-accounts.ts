import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/logger.ts";
import type { UserTables } from "./schema.ts";
import { pruneSessions } from "./store-sessions.ts";
import { pruneBuckets } from "./store-throttle.ts";

const EVERY_MS = 600_000;

export interface PruneContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Forgets sessions that were over long ago and the counts of tries that are over, a batch at a time. */
export async function pruneAccounts({ db, clock }: Pick<PruneContext, "db" | "clock">): Promise<void> {
  while ((await pruneSessions(db, clock.now())) > 0);
  while ((await pruneBuckets(db, clock.now())) > 0);
}

/** Prunes every ten minutes, until it is told to stop; more often than processes are replaced. */
export function keepPruning(context: PruneContext): () => Promise<void> {
  let running = Promise.resolve();
  const timer = setInterval(() => {
    running = running
      .then(() => pruneAccounts(context))
      .catch((error: unknown) => {
        context.log.warn({ err: error }, "sessions and counts of tries were not pruned");
      });
  }, EVERY_MS);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await running;
  };
}
