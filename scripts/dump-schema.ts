import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { startEmbeddedPostgres } from "../src/platform/embedded-postgres.ts";
import { createLogger } from "../src/platform/logger.ts";
import { MIGRATIONS, databaseName, migrateDatabase, migratedRoles } from "../src/platform/migrate.ts";
import { dumpSchema } from "../src/platform/schema-dump.ts";

/**
 * Writes migrations/<role>/schema.sql, the schema that all migrations together make, from a throwaway Postgres; with
 * --check it compares instead and exits 1 on a difference.
 */
async function main(): Promise<void> {
  const known = await migratedRoles();
  const program = new Command("dump-schema")
    .argument("[roles...]", `all of ${known.join(", ")}`)
    .option("--check", "compare with the committed files instead of writing them")
    .parse();
  const roles = program.args.length > 0 ? program.args : known;
  const stranger = roles.find((role) => !known.includes(role));
  if (stranger !== undefined) program.error(`There is no role "${stranger}" with migrations.`, { exitCode: 2 });
  const { check = false } = program.opts<{ check?: boolean }>();
  await withPostgres(roles, async (urlOf) => {
    for (const role of roles) {
      const url = urlOf(databaseName(role));
      await migrateDatabase({ url, role, log });
      const file = join(MIGRATIONS, role, "schema.sql");
      const dump = `-- The schema of ${databaseName(role)}, written by scripts/dump-schema.ts; edit the migrations.\n\n${await dumpSchema(url)}`;
      if (check) await compare(file, dump, role);
      else await writeFile(file, dump);
    }
  });
}

const log = createLogger({ level: "warn", format: "json" });

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

async function compare(file: string, dump: string, role: string): Promise<void> {
  const committed = existsSync(file) ? await readFile(file, "utf8") : "";
  if (committed === dump) return;
  const [old, now] = [committed.split("\n"), dump.split("\n")];
  const at = now.findIndex((line, index) => line !== old[index]);
  const line = at === -1 ? now.length : at;
  console.error(
    `migrations/${role}/schema.sql differs from the migrations at line ${line + 1}; run scripts/dump-schema.ts.`,
  );
  console.error(`  committed: ${old[line] ?? "(nothing)"}\n  migrated:  ${now[line] ?? "(nothing)"}`);
  process.exitCode = 1;
}

await main();
