import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { Migrator } from "kysely/migration";
import type { MigrationResultSet } from "kysely/migration";
import { openDatabase } from "../src/platform/database.ts";
import { startEmbeddedPostgres } from "../src/platform/embedded-postgres.ts";
import { createLogger } from "../src/platform/logger.ts";
import { databaseName, migrationNames, migrationProvider, migratedRoles } from "../src/platform/migrate.ts";
import { dumpSchema } from "../src/platform/schema-dump.ts";
import { dataModelPage, readDataModel } from "./docs/data-model.ts";
import type { DataModel } from "./docs/data-model.ts";
import { comparePages, writePages } from "./docs/page.ts";
import type { Page } from "./docs/page.ts";

/**
 * Writes migrations/<role>/schema.sql and docs/data-model.md, the schemas that all migrations together make, from a
 * throwaway Postgres. With --check it compares instead, and undoes the migrations one by one: each `down` must leave
 * what was there before its `up`, and all of them can be applied again.
 */
async function main(): Promise<void> {
  const known = await migratedRoles();
  const program = new Command("npm run dump-schema --")
    .description("Writes migrations/<role>/schema.sql and docs/data-model.md from a throwaway Postgres.")
    .argument("[roles...]", `all of ${known.join(", ")}; the data model is of all`)
    .option("--check", "compare instead of writing; also undo all migrations one by one, and apply them again")
    .parse();
  const roles = program.args.length > 0 ? program.args : known;
  const stranger = roles.find((role) => !known.includes(role));
  if (stranger !== undefined) program.error(`There is no role "${stranger}" with migrations.`, { exitCode: 2 });
  const { check = false } = program.opts<{ check?: boolean }>();
  const pages: Page[] = [];
  const models: DataModel[] = [];
  await withPostgres(roles, async (urlOf) => {
    for (const role of roles) {
      const url = urlOf(databaseName(role));
      const { schema, model } = await walk(role, url, check);
      const head = `-- The schema of ${databaseName(role)}, written by scripts/dump-schema.ts; edit the migrations.\n\n`;
      pages.push({ file: `migrations/${role}/schema.sql`, text: head + schema });
      models.push(model);
    }
  });
  if (roles.length === known.length) pages.push(dataModelPage(models));
  if (!check) writePages(pages);
  else problems.push(...comparePages(pages, "npm run dump-schema"));
}

const log = await createLogger({ level: "warn", format: "json" });
const problems: string[] = [];

/** Applies a role's migrations one by one; where it is to check them, undoes them one by one and applies them again. */
async function walk(role: string, url: string, check: boolean): Promise<{ schema: string; model: DataModel }> {
  const names = await migrationNames(role);
  const { db, close } = openDatabase<unknown>({ url, role, log, poolSize: 2, statementTimeoutMs: 0 });
  try {
    const migrator = new Migrator({ db, provider: migrationProvider(role) });
    const before: string[] = [];
    for (const name of names) {
      if (check) before.push(await dumpSchema(url));
      succeeded(role, name, await migrator.migrateUp());
    }
    const schema = await dumpSchema(url);
    const model = await readDataModel(role, url);
    if (!check) return { schema, model };
    for (const [index, name] of [...names.entries()].reverse()) {
      succeeded(role, name, await migrator.migrateDown());
      const left = firstDifference(before[index] ?? "", await dumpSchema(url));
      if (left !== undefined) problems.push(`migrations/${role}/${name}.ts: down does not undo up: ${left}`);
    }
    const latest = await migrator.migrateToLatest();
    succeeded(role, latest.results?.find(({ status }) => status === "Error")?.migrationName ?? "", latest);
    const again = firstDifference(schema, await dumpSchema(url));
    if (again !== undefined) problems.push(`migrations/${role}: up, down, up is not the same as up: ${again}`);
    return { schema, model };
  } finally {
    await close();
  }
}

function succeeded(role: string, name: string, { error }: MigrationResultSet): void {
  if (error === undefined) return;
  const why = error instanceof Error ? error.message : "for an unknown reason";
  throw new Error(why.startsWith("migrations/") ? why : `migrations/${role}/${name}.ts: ${why}`, { cause: error });
}

/** The first line of a schema that is left, or gone; undefined where both are the same. */
function firstDifference(expected: string, actual: string): string | undefined {
  if (expected === actual) return undefined;
  const [old, now] = [expected.split("\n"), actual.split("\n")];
  const left = now.find((line) => !old.includes(line));
  const gone = old.find((line) => !now.includes(line));
  if (left !== undefined) return `${left.trim()} is left`;
  return gone === undefined ? "its lines stand otherwise" : `${gone.trim()} is gone`;
}

async function withPostgres(roles: readonly string[], work: (urlOf: (name: string) => string) => Promise<void>) {
  const folder = await mkdtemp(join(tmpdir(), "connect-commerce-schema-"));
  // As root Postgres runs as another account, which has to pass.
  await chmod(folder, 0o711);
  try {
    const databases = roles.map(databaseName);
    const postgres = await startEmbeddedPostgres({ dataDir: join(folder, "data"), databases, log, fsync: false });
    try {
      await work(postgres.urlOf);
    } finally {
      await postgres.stop();
      await rm(postgres.dataPath, { recursive: true, force: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  problems.push(error instanceof Error ? error.message : String(error));
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
