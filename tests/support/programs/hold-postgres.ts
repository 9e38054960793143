import { pino } from "pino";
import { startEmbeddedPostgres } from "../../../src/platform/embedded-postgres.ts";

/** Holds an embedded Postgres on the folder given until it is killed; says the URL of its database when it is up. */
const [dataDir = ""] = process.argv.slice(2);
const postgres = await startEmbeddedPostgres({ dataDir, databases: ["shop"], log: pino({ level: "silent" }) });
process.send?.(postgres.urlOf("shop"));
// The parent's channel alone does not keep a process alive.
setInterval(() => undefined, 60_000);
