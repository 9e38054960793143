import { Command } from "commander";
import { pino } from "pino";
import { openDatabase } from "../platform/database.ts";
import type { GatewayTables } from "../roles/gateway/schema.ts";
import { verifyAudit } from "../roles/gateway/verify-audit.ts";
import { databaseUrl } from "./databases.ts";

const { database } = new Command("npm run audit:verify --")
  .description("Recomputes the hash chains of the audit log and names the first broken entry of each.")
  .option("--database <url>", "the database of the gateway role")
  .addHelpText("after", "\nExit code 1: a chain is broken, or cannot be read. See docs/audit.md.\n")
  .parse()
  .opts<{ database?: string }>();

try {
  const url = databaseUrl("gateway", database === undefined ? {} : { given: { gateway: database } });
  const log = pino({ level: "silent" });
  const { db, close } = openDatabase<GatewayTables>({ url, role: "gateway", log, poolSize: 1, statementTimeoutMs: 0 });
  try {
    const { chains, entries, broken } = await verifyAudit(db);
    for (const { id, gateway, position, hash } of chains) {
      process.stdout.write(`${id}  ${gateway}  ${String(position)} entries, the last ${hash.toString("hex")}\n`);
    }
    for (const { chain, position, problem } of broken) {
      process.stderr.write(`BROKEN: chain ${chain}: entry ${String(position)} ${problem}.\n`);
    }
    if (broken.length > 0) process.exitCode = 1;
    else process.stdout.write(`${String(entries)} entries in ${String(chains.length)} chains: none is broken.\n`);
  } finally {
    await close();
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
