import { defineConfig } from "kysely-ctl";
import { databaseUrl } from "./src/commands/databases.ts";
import { openDatabase } from "./src/platform/database.ts";
import { createLogger } from "./src/platform/logger.ts";
import { migratedRoles, migrationProvider } from "./src/platform/migrate.ts";

/**
 * For kysely-ctl, one environment per role: `ROLE=order npx kysely migrate list`. `npm run migrate` runs it so, after it
 * has found the database and made it where it is missing.
 */
const role = process.env["ROLE"] ?? "";
const roles = await migratedRoles();
if (!roles.includes(role)) throw new Error(`Set ROLE to one of ${roles.join(", ")}.`);

export default defineConfig({
  kysely: async () => {
    const log = await createLogger({ level: "warn", format: "json" });
    return openDatabase<unknown>({ url: databaseUrl(role), role, log, poolSize: 2, statementTimeoutMs: 0 }).db;
  },
  // The server's own provider, so that both know the same migrations by the same names.
  migrations: { provider: migrationProvider(role) },
});
