import { Command } from "commander";
import { Client } from "pg";
import { databaseUrl } from "./databases.ts";

const ROLES = ["support", "admin"];

const program = new Command("npm run grant --")
  .description("Makes a user support or admin, in the database: that is how a shop gets its first admin.")
  .argument("<email>", "of an account that exists; CreateUser makes one, with a password")
  .argument("<role>", ROLES.join(" or "))
  .option("--database <url>", "the database of the user role")
  .addHelpText("after", "\nThe roles are in the next access token: log in again, or refresh.\n")
  .parse();

const [email = "", role = ""] = program.args;
if (!ROLES.includes(role)) program.error(`There is no role "${role}": ${ROLES.join(", ")}.`);
const { database } = program.opts<{ database?: string }>();

try {
  const url = databaseUrl("user", database === undefined ? {} : { given: { user: database } });
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    const { rows } = await client.query<{ roles: string[] }>(
      `update users set roles = array(select distinct unnest(roles || $2::text) as role order by role), version = version + 1, updated_at = now()
       where lower(email) = lower($1) returning roles`,
      [email, role],
    );
    const [user] = rows;
    if (!user) throw new Error(`There is no account ${email}; CreateUser makes one.`);
    process.stdout.write(`${email} is now ${user.roles.join(" and ")}.\n`);
  } finally {
    await client.end();
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
