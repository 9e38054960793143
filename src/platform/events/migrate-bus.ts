import { createRequire } from "node:module";
import { setTimeout as delay } from "node:timers/promises";
import type { Pool } from "pg";
import type { PgBoss } from "pg-boss";
import { createPool } from "../database-pool.ts";
import type { Logger } from "../logger.ts";
import { createBoss } from "./bus-boss.ts";

/** Milliseconds between looks at indexes that pg-boss builds beside what runs. */
const LOOK_MS = 200;

/** The version of pg-boss's schema that this build works with. */
function wanted(): number {
  const { pgboss } = createRequire(import.meta.url)("pg-boss/package.json") as { pgboss: { schema: number } };
  return pgboss.schema;
}

/** What the one step of this build is called: `pg-boss schema 43`. */
export function busMigration(): string {
  return `pg-boss schema ${String(wanted())}`;
}

/** Whether a bus keeps its messages in a database that has to be migrated. */
export function isMigratedBus(url: string): boolean {
  return ["postgres:", "postgresql:"].includes(new URL(url).protocol);
}

/**
 * Brings the schema of the bus at a postgres: address to the version of this build and answers what was applied, for
 * example `pg-boss schema 43`; waits for another process that does so. A newer schema is left alone. On a bus of
 * another kind there is nothing to do. @throws the raw error; nothing is applied then.
 */
export async function migrateBus(url: string, log: Logger): Promise<string[]> {
  if (!isMigratedBus(url)) return [];
  return withPool(url, log, 0, async (pool) => {
    const before = await versionOf(pool);
    if (before !== undefined && before >= wanted()) return [];
    const failures: unknown[] = [];
    const boss = await createBoss(pool, true, (error) => failures.push(error));
    try {
      await boss.start();
      await indexesBuilt(boss, failures);
    } finally {
      await boss.stop({ graceful: false });
    }
    return [busMigration()];
  });
}

/** What {@link migrateBus} would apply, as it names it. @throws the raw error of a database that does not answer. */
export async function pendingBusMigration(url: string, log: Logger): Promise<string[]> {
  if (!isMigratedBus(url)) return [];
  const version = await withPool(url, log, 10_000, versionOf);
  return version !== undefined && version >= wanted() ? [] : [busMigration()];
}

/** Undefined where nothing is installed. */
async function versionOf(pool: Pool): Promise<number | undefined> {
  const boss = await createBoss(pool, false, () => undefined);
  return (await boss.isInstalled()) ? ((await boss.schemaVersion()) ?? undefined) : undefined;
}

/** pg-boss builds the indexes of an upgrade one after another while it runs. */
async function indexesBuilt(boss: PgBoss, failures: readonly unknown[]): Promise<void> {
  for (;;) {
    const failed = (await boss.getBamEntries()).find(({ status }) => status === "failed");
    if (failed) throw new Error(`pg-boss could not build an index (${failed.name}): ${failed.error ?? "no reason"}`);
    if (failures.length > 0) throw failures[0];
    const open = (await boss.getBamStatus()).filter(({ status }) => status === "pending" || status === "in_progress");
    if (open.length === 0) return;
    await delay(LOOK_MS);
  }
}

async function withPool<T>(
  url: string,
  log: Logger,
  statementTimeoutMs: number,
  work: (pool: Pool) => Promise<T>,
): Promise<T> {
  const pool = createPool({ url, role: "events", poolSize: 2, statementTimeoutMs, log });
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}
