import type { Db, PgBoss } from "pg-boss";

/** The schema of pg-boss in the bus's database. */
export const BOSS_SCHEMA = "pgboss";

/** What runs pg-boss's statements: a pool, or one of its clients with a transaction open. */
export interface Queryable {
  query(text: string, values?: unknown[]): Promise<unknown>;
}

export function bossDb(queryable: Queryable): Db {
  return { executeSql: async (text, values) => (await queryable.query(text, values)) as { rows: unknown[] } };
}

/**
 * pg-boss over a pool of ours, so that its sessions have our time limits. It runs none of its own pollers: what is
 * fetched is locked by a transaction and deleted in it, so there is nothing to expire, retry or clean up. Loaded here:
 * many roles start without, and the others listen before it is.
 * @param failed is told of errors in the background
 */
export async function createBoss(pool: Queryable, migrate: boolean, failed: (error: unknown) => void): Promise<PgBoss> {
  const { PgBoss } = await import("pg-boss");
  const boss = new PgBoss({
    db: bossDb(pool),
    schema: BOSS_SCHEMA,
    migrate,
    createSchema: migrate,
    supervise: false,
    schedule: false,
  });
  // An 'error' event that nobody listens to would end the process.
  boss.on("error", failed);
  return boss;
}
