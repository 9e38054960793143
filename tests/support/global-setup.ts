import { readFileSync, rmSync } from "node:fs";
import { chmod, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { TestProject } from "vitest/node";
import { AlreadyRunning, startEmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";
import { migrateBus } from "../../src/platform/events/migrate-bus.ts";
import { migrateDatabase, migratedRoles } from "../../src/platform/migrate.ts";
import { compileCache } from "./environment.ts";
import { templateOf } from "./postgres.ts";

const PREFIX = "connect-commerce-test-";
/** Another run may be between making its folder and locking it. */
const JUST_MADE_MS = 60_000;
const log = pino({ level: "warn" });

/** One throwaway Postgres for the run, with a migrated template database per role; answers what ends it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // The workers of the tests start after this, and what they start inherits it.
  process.env["NODE_COMPILE_CACHE"] ??= compileCache;
  await sweep();
  const folder = await mkdtemp(join(tmpdir(), PREFIX));
  // As root Postgres runs as another account, which has to pass.
  await chmod(folder, 0o711);
  const roles = await migratedRoles();
  return start(folder, roles, project);
}

async function start(folder: string, roles: readonly string[], project: TestProject): Promise<() => Promise<void>> {
  const postgres = await startEmbeddedPostgres({
    dataDir: folder,
    databases: [...roles, "events"].map(templateOf),
    log,
    fsync: false,
  });
  const abandon = () => {
    endNow(postgres.dataPath, folder);
  };
  process.once("exit", abandon);
  const end = async () => {
    process.off("exit", abandon);
    await postgres.stop();
    await rm(postgres.dataPath, { recursive: true, force: true });
    await rm(folder, { recursive: true, force: true });
  };
  try {
    for (const role of roles) await migrateDatabase({ url: postgres.urlOf(templateOf(role)), role, log });
    await migrateBus(postgres.urlOf(templateOf("events")), log);
    project.provide("postgresUrl", postgres.urlOf("postgres"));
    return end;
  } catch (error) {
    await end();
    throw error;
  }
}

/** Ctrl-C: vitest exits without a teardown, and an exiting process cannot wait. */
function endNow(dataPath: string, folder: string): void {
  const [pid] = readFileSync(join(dataPath, "postmaster.pid"), "utf8").split("\n");
  process.kill(Number(pid), "SIGQUIT");
  for (const path of [dataPath, folder]) rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}

/** Ends and removes what a killed run left; one that still runs holds the lock of its folder. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue;
    const dataDir = join(tmpdir(), name);
    // Another run may have removed it just now.
    const madeAt = await stat(dataDir).then(({ mtimeMs }) => mtimeMs, Date.now);
    if (Date.now() - madeAt < JUST_MADE_MS) continue;
    try {
      const left = await startEmbeddedPostgres({ dataDir, databases: [], log, fsync: false });
      await left.stop();
      await rm(left.dataPath, { recursive: true, force: true });
    } catch (error) {
      if (error instanceof AlreadyRunning) continue;
    }
    await rm(dataDir, { recursive: true, force: true });
  }
}
