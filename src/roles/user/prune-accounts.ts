import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import type { UserTables } from "./schema.ts";
import { pruneLoginTokens } from "./store-identities.ts";
import { pruneSessions } from "./store-sessions.ts";
import { pruneBuckets } from "./store-throttle.ts";

/** Milliseconds between runs: more often than processes are replaced. */
export const PRUNE_EVERY_MS = 600_000;

export interface PruneContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
}

/** Forgets sessions that were over long ago, and counts of tries and login tokens that are over, a batch at a time. */
export async function pruneAccounts({ db, clock }: PruneContext): Promise<void> {
  while ((await pruneSessions(db, clock.now())) > 0);
  while ((await pruneBuckets(db, clock.now())) > 0);
  while ((await pruneLoginTokens(db, clock.now())) > 0);
}
