import { readFileSync } from "node:fs";
import { readFile, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import { findBinaries } from "../../src/platform/embedded/binaries.ts";
import { settlePlace } from "../../src/platform/embedded/place.ts";
import { lastLines, run } from "../../src/platform/embedded/programs.ts";
import { startEmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";
import { migrateBus } from "../../src/platform/events/migrate-bus.ts";
import { databaseName, migrateDatabase } from "../../src/platform/migrate.ts";
import { until } from "./conditions.ts";
import { makeFolder } from "./folders.ts";
import { EVENTS, owners } from "./installation.ts";
import type { TestDatabase } from "./postgres.ts";

/** A Postgres of a test's own, as durable as a real one, that can be taken away and brought back where it was. */
export interface OwnPostgres extends AsyncDisposable {
  /** Migrated, by role; that of the bus too. */
  readonly databases: Readonly<Record<string, TestDatabase>>;
  /** `immediate` leaves as a crash does: nothing is flushed, and the next start recovers. */
  stop(mode: "fast" | "immediate"): Promise<void>;
  /** kill -9 of the whole server, in the midst of whatever it does. */
  kill(): Promise<void>;
  /** Resolves when it takes connections. */
  start(): Promise<void>;
}

const log = pino({ level: "warn" });

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const names = [...owners, EVENTS];
  const server = await startOwnServer(names.map(databaseName));
  const databases = Object.fromEntries(
    names.map((role) => [role, { url: server.urlOf(databaseName(role)), drop: () => Promise.resolve() }]),
  );
  for (const role of owners) await migrateDatabase({ url: server.urlOf(databaseName(role)), role, log });
  await migrateBus(server.urlOf(databaseName(EVENTS)), log);
  return { ...server, databases };
}

/** The same with empty databases of these names. */
export async function startOwnServer(
  names: readonly string[],
): Promise<Omit<OwnPostgres, "databases"> & { urlOf(database: string): string }> {
  const folder = await makeFolder();
  const postgres = await startEmbeddedPostgres({ dataDir: folder.data, databases: names, log });
  const place = await settlePlace(await realpath(folder.data), await findBinaries(), () => undefined);

  async function control(detached: boolean, ...args: readonly string[]): Promise<void> {
    const { code, output } = await run(place, "pg_ctl", [...args, "-w", "-s", "-D", place.dataPath], { detached });
    if (code !== 0) throw new Error(`pg_ctl ${args.join(" ")} ended with ${String(code)}: ${lastLines(output)}`);
  }

  return {
    urlOf: (database) => postgres.urlOf(database),
    stop: (mode) => control(false, "stop", "-m", mode),
    async kill() {
      const [pid = ""] = (await readFile(join(place.dataPath, "postmaster.pid"), "utf8")).split("\n");
      const children = await childrenOf(Number(pid));
      for (const each of [Number(pid), ...children]) process.kill(each, "SIGKILL");
      await until(() => ![Number(pid), ...children].some(isAlive));
      // Where nobody waits for the dead their ids are still taken, and the next start would take one for alive.
      await rm(join(place.dataPath, "postmaster.pid"));
    },
    // Its settings, the port among them, are those of the start before.
    start: () => control(true, "start", "-l", join(place.dataPath, "server.log")),
    async [Symbol.asyncDispose]() {
      await postgres.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${String(pid)}/task/${String(pid)}/children`, "utf8");
  return text
    .split(" ")
    .filter((id) => id !== "")
    .map(Number);
}

/** A killed one that nobody has waited for does not count. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${String(pid)}/status`, "utf8"));
  } catch {
    return false;
  }
}
