import { Command } from "commander";
import { openDatabase } from "../platform/database.ts";
import { publishAgain } from "../platform/events/replay.ts";
import { createLogger } from "../platform/logger.ts";
import type { Registry } from "../platform/role.ts";
import { registry as allRoles } from "../roles/registry.ts";
import { databaseUrl } from "./databases.ts";

const registry: Registry = allRoles;
const emitters = Object.keys(registry).filter((role) => registry[role]?.events?.emits !== undefined);

const program = new Command("npm run events:replay --")
  .description("Publishes a role's events again that a bus has lost, of the last seven days; the running role does it.")
  .argument("<role>", `who emits them: ${emitters.join(", ")}`)
  .requiredOption("--since <time>", "when the first of them was published: 2026-11-21T10:00:00Z")
  .option("--database <url>", "the database of the role")
  .addHelpText("after", "\nNothing is applied twice: who has applied an event drops it.\n")
  .parse();

const [role = ""] = program.args;
if (!emitters.includes(role)) program.error(`There is no role "${role}" that emits events: ${emitters.join(", ")}.`);
const { since, database } = program.opts<{ since: string; database?: string }>();
const from = new Date(since);
if (Number.isNaN(from.getTime())) program.error(`--since ${since} is no time; write it as 2026-11-21T10:00:00Z.`);

try {
  const url = databaseUrl(role, database === undefined ? {} : { given: { [role]: database } });
  const log = await createLogger({ level: "error", format: "json" });
  const { db, close } = openDatabase<unknown>({ url, role, poolSize: 1, statementTimeoutMs: 0, log });
  try {
    process.stdout.write(`${String(await publishAgain(db, from))} events of ${role} are published again.\n`);
  } finally {
    await close();
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
