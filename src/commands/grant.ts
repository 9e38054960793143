import { Command } from "commander";
import { openDatabase } from "../platform/database.ts";
import { createOutbox } from "../platform/events/outbox.ts";
import { createLogger } from "../platform/logger.ts";
import { announceUsers, userEvents } from "../roles/user/events.ts";
import { grantRole } from "../roles/user/grant-role.ts";
import type { UserRole } from "../roles/user/permission.ts";
import type { UserTables } from "../roles/user/schema.ts";
import { databaseUrl } from "./databases.ts";

const ROLES = ["support", "admin"] as const satisfies readonly UserRole[];

const program = new Command("npm run grant --")
  .description("Makes a user support or admin, in the database: that is how a shop gets its first admin.")
  .argument("<email>", "of an active account; CreateUser makes one, with a password")
  .argument("<role>", ROLES.join(" or "))
  .option("--database <url>", "the database of the user role")
  .addHelpText("after", "\nThe roles are in the next access token: log in again, or refresh.\n")
  .parse();

const [email = "", name = ""] = program.args;
const role = ROLES.find((known) => known === name) ?? program.error(`There is no role "${name}": ${ROLES.join(", ")}.`);
const { database } = program.opts<{ database?: string }>();

try {
  const url = databaseUrl("user", database === undefined ? {} : { given: { user: database } });
  const log = await createLogger({ level: "error", format: "json" });
  const { db, close } = openDatabase<UserTables>({ url, role: "user", poolSize: 1, log });
  try {
    // The shop's own relay publishes the event within a second.
    const outbox = createOutbox({ ...userEvents.emits, wake: () => undefined });
    const announce = announceUsers(outbox, {
      send: () => undefined,
      listen: () => ({ close: () => Promise.resolve() }),
    });
    const roles = await grantRole(db, email, role, announce);
    if (!roles) throw new Error(`There is no active account ${email}; CreateUser makes one.`);
    process.stdout.write(`${email} is now ${roles.join(" and ")}.\n`);
  } finally {
    await close();
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
