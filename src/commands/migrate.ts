import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { Command, InvalidArgumentError } from "commander";
import { databaseOf, ensureDatabase } from "../platform/database-create.ts";
import { migratedRoles } from "../platform/migrate.ts";
import { databaseKey } from "../platform/config-databases.ts";
import { busMigration, isMigratedBus, migrateBus, pendingBusMigration } from "../platform/events/migrate-bus.ts";
import { createLogger } from "../platform/logger.ts";
import { busAddress, databaseUrl } from "./databases.ts";

/** What kysely-ctl calls our actions. */
const ACTIONS = { up: "latest", down: "down", status: "list" } as const;
type Action = keyof typeof ACTIONS;

/** The target beside the roles: the database of the bus. */
const EVENTS = "events";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

interface Target {
  readonly role: string;
  readonly url: string;
}

/** Undefined when the role is done, else what went wrong in one line. */
type Failure = string | undefined;

async function main(): Promise<void> {
  const roles = [...(await migratedRoles()), EVENTS];
  const program = new Command("npm run migrate --")
    .description("Applies, undoes or lists the migrations of a role's database, or of the bus's (events).")
    .argument("<role>", `all, or one of ${roles.join(", ")}`)
    .argument("[action]", "up (all pending ones, the default), down (undo the last one), status", "up")
    .option("--database <role>=<url>", "where a role's database is; may be repeated", collectDatabase)
    .addHelpText("after", HELP)
    .exitOverride((stop) => process.exit(stop.exitCode === 0 ? 0 : 2))
    .parse();
  const [role = "", action = "up"] = program.args;
  const targets = role === "all" ? roles : roles.filter((name) => name === role);
  if (targets.length === 0) program.error(`There is no role "${role}" with migrations: all, ${roles.join(", ")}.`);
  if (!isAction(action)) program.error(`There is no action "${action}": ${Object.keys(ACTIONS).join(", ")}.`);
  if (role === "all" && action === "down") program.error("Undo the migrations of one role at a time.");
  if (role === EVENTS && action === "down") program.error("The schema of events is pg-boss's; it goes forward only.");
  const { database = {} } = program.opts<{ database?: Record<string, string> }>();
  const stranger = Object.keys(database).find((name) => !roles.includes(name));
  if (stranger !== undefined) program.error(`--database ${stranger}=…: there is no such role.`);
  const failures = new Map<string, string>();
  for (const name of targets) {
    const failure = await (name === EVENTS
      ? migrateEvents(action as Action, database)
      : migrateRole(name, action as Action, database, role !== "all"));
    if (failure !== undefined) failures.set(name, failure);
  }
  if (failures.size === 0) return;
  console.error(`\n${failures.size} of ${targets.length} failed:`);
  for (const [name, failure] of failures) console.error(`  ${name}: ${failure}`);
  process.exitCode = 1;
}

const HELP = `
The database of a role is, in this order: --database; <ROLE>_DATABASE_URL; for a single role the one that DATABASE_URL
or POSTGRES_* names, for all of them <role>db on that server; <role>db of the shop that runs on DATA_DIR (.data).
The database of events: --database, BUS_URL, the database \`events\` on that server, or in that shop.
A missing database is created where the account may. Exit code 1: a migration failed; 2: wrong usage.`;

function isAction(text: string): text is Action {
  return Object.hasOwn(ACTIONS, text);
}

function collectDatabase(text: string, known: Record<string, string> = {}): Record<string, string> {
  const [, role, url] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (role === undefined || url === undefined || !URL.canParse(url)) {
    throw new InvalidArgumentError("Write <role>=postgres://user:password@host:port/database.");
  }
  return { ...known, [role]: url };
}

async function migrateRole(
  role: string,
  action: Action,
  given: Readonly<Record<string, string>>,
  single: boolean,
): Promise<Failure> {
  try {
    const url = databaseUrl(role, { given, single });
    announce(role, url);
    if (action === "up") await ensureDatabase(url);
    return await runKysely({ role, url }, action);
  } catch (error) {
    return messageOf(error);
  }
}

async function migrateEvents(action: Action, given: Readonly<Record<string, string>>): Promise<Failure> {
  try {
    const url = busAddress({ given });
    if (!isMigratedBus(url)) {
      console.log(`\n${EVENTS}: on a broker (${new URL(url).protocol}) there is nothing to migrate`);
      return undefined;
    }
    announce(EVENTS, url);
    const log = await createLogger({ level: "warn", format: "json" });
    if (action === "up") {
      await ensureDatabase(url);
      const applied = await migrateBus(url, log);
      console.log(applied.length === 0 ? "✓ Nothing is pending" : applied.map((name) => `✓ ${name}`).join("\n"));
    } else {
      const pending = await pendingBusMigration(url, log);
      console.log(`[${pending.length === 0 ? "✓" : " "}] ${busMigration()}`);
    }
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function announce(target: string, url: string): void {
  const { host } = new URL(url);
  console.log(`\n${target}: database ${databaseOf(url)} on ${host === "" ? "the local server" : host}`);
}

/** Connecting to a name with several addresses fails with an AggregateError, whose own message is empty. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}

/** kysely-ctl reads the role and the URL from its environment (kysely.config.ts): a URL on the line shows in `ps`. */
function runKysely({ role, url }: Target, action: Action): Promise<Failure> {
  const bin = join(dirname(createRequire(import.meta.url).resolve("kysely-ctl/package.json")), "dist", "bin.mjs");
  const args = ["migrate", ACTIONS[action], "--cwd", ROOT, "--no-outdated-check", "--no-filesystem-caching"];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [bin, ...args], {
      cwd: ROOT,
      env: { ...process.env, ROLE: role, [databaseKey(role)]: url },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      process.stdout.write(chunk);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      errors += chunk.toString();
    });
    child.on("error", reject);
    child.on("close", (code) => {
      resolve(code === 0 ? undefined : whyItFailed(said, errors, role));
    });
  });
}

/**
 * The one line that says it, without the stack. Of a migration kysely-ctl says, on either stream, with backticks or
 * not: Migration failed with `error: …` @ "202611210000-users".
 */
function whyItFailed(said: string, errors: string, role: string): string {
  const text = stripVTControlCharacters(`${said}\n${errors}`);
  const [, error, migration] = /Migration failed with (.+?)(?: @ "([^"]+)")?$/m.exec(text) ?? [];
  const first = stripVTControlCharacters(errors)
    .split("\n")
    .find((line) => line.trim() !== "");
  const reason = (error ?? first ?? "kysely-ctl failed").replaceAll("`", "").trim();
  return migration === undefined ? reason : `migrations/${role}/${migration}.ts: ${reason}`;
}

await main();
