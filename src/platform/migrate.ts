import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { sql } from "kysely";
import type { Kysely } from "kysely";
import type { Migration, MigrationProvider } from "kysely/migration";
import { codeOf } from "./database-errors.ts";
import { openDatabase } from "./database.ts";
import type { Logger } from "./logger.ts";

export { databaseName } from "./database-name.ts";

/** `migrations/` at the top of the project; one folder per role below it. */
export const MIGRATIONS = fileURLToPath(new URL("../../migrations", import.meta.url));

const FILE_NAME = /^(?<name>\d{12}-[a-z0-9-]+)\.ts$/;

/** Every role that has migrations, in alphabetical order. */
export async function migratedRoles(migrations = MIGRATIONS): Promise<string[]> {
  const entries = await readdir(migrations, { withFileTypes: true }).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

/** Names of a role's migrations, oldest first. @throws Error for a file whose name would be passed over. */
export async function migrationNames(role: string, migrations = MIGRATIONS): Promise<string[]> {
  const names: string[] = [];
  for (const file of (await readdir(join(migrations, role))).sort()) {
    if (!file.endsWith(".ts")) continue;
    const name = FILE_NAME.exec(file)?.groups?.["name"];
    if (name === undefined) throw new Error(`migrations/${role}/${file}: call it <yyyymmddhhmm>-<what>.ts.`);
    names.push(name);
  }
  return names;
}

/** Loads the migrations of one role for Kysely's Migrator and for kysely-ctl. */
export function migrationProvider(role: string, migrations = MIGRATIONS): MigrationProvider {
  return {
    getMigrations: async () => {
      const loaded: Record<string, Migration> = {};
      for (const name of await migrationNames(role, migrations)) {
        const url = pathToFileURL(join(migrations, role, `${name}.ts`)).href;
        const { up, down } = (await import(/* @vite-ignore */ url)) as Partial<Migration>;
        if (!up || !down) throw new Error(`migrations/${role}/${name}.ts must export up and down.`);
        loaded[name] = { up, down };
      }
      return loaded;
    },
  };
}

/**
 * Applies what is pending, all in one transaction, and answers the names; waits for another process that migrates the
 * same database. A database that is ahead of this build is left alone. Give it a database opened with
 * `statementTimeoutMs: 0`, or use {@link migrateDatabase}: building an index takes longer than a query may.
 * @throws Error that names the failing migration; nothing is applied then.
 */
export async function migrateToLatest<DB>(db: Kysely<DB>, role: string, migrations = MIGRATIONS): Promise<string[]> {
  if ((await pendingMigrations(db, role, migrations)).length === 0) return [];
  const { Migrator } = await import("kysely/migration");
  const provider = migrationProvider(role, migrations);
  const { error, results = [] } = await new Migrator({ db, provider }).migrateToLatest();
  if (error === undefined) return results.map((result) => result.migrationName);
  const failed = results.find((result) => result.status === "Error")?.migrationName;
  const what = failed === undefined ? `The migrations of ${role}` : `The migration migrations/${role}/${failed}.ts`;
  const why = error instanceof Error ? error.message : "for an unknown reason";
  throw new Error(`${what} failed, nothing was applied: ${why}`, { cause: error });
}

export interface MigrateOptions {
  readonly url: string;
  readonly role: string;
  readonly log: Logger;
  readonly migrations?: string;
}

/** {@link migrateToLatest} over a connection of its own, on which a statement may take as long as it needs. */
export async function migrateDatabase({ url, role, log, migrations = MIGRATIONS }: MigrateOptions): Promise<string[]> {
  const { db, close } = openDatabase<unknown>({ url, role, log, poolSize: 2, statementTimeoutMs: 0 });
  try {
    return await migrateToLatest(db, role, migrations);
  } finally {
    await close();
  }
}

/** Migrations that this build knows and the database lacks: one small query, for readiness. */
export async function pendingMigrations<DB>(db: Kysely<DB>, role: string, migrations = MIGRATIONS): Promise<string[]> {
  const names = await migrationNames(role, migrations);
  const applied = await appliedMigrations(db);
  return names.filter((name) => !applied.has(name));
}

async function appliedMigrations<DB>(db: Kysely<DB>): Promise<ReadonlySet<string>> {
  try {
    const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
    return new Set(rows.map((row) => row.name));
  } catch (error) {
    if (codeOf(error) === "42P01") return new Set();
    throw error;
  }
}
