import { readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureDatabase } from "./database-create.ts";
import { codeOf, isConnectionLost } from "./database-errors.ts";
import { findBinaries } from "./embedded/binaries.ts";
import { SUPERUSER, diskFull, openCluster } from "./embedded/cluster.ts";
import { lockFolder } from "./embedded/lock.ts";
import { makeDataDir, settlePlace } from "./embedded/place.ts";
import type { Place } from "./embedded/place.ts";
import { ranOutOfDisk, startServer, stopServer } from "./embedded/server.ts";
import type { Logger } from "./logger.ts";

export interface EmbeddedPostgresOptions {
  /** Made if missing. One process at a time. */
  readonly dataDir: string;
  /** Databases to create where they are missing. */
  readonly databases: readonly string[];
  readonly log: Logger;
  /** False only for data that may be lost: tests. */
  readonly fsync?: boolean;
  /** Told of steps that take a while, in words for a person. */
  readonly onProgress?: (message: string) => void;
  /** Breaks the start off. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedPostgres {
  readonly urlOf: (database: string) => string;
  /** Postgres's data folder. */
  readonly dataPath: string;
  /** Where the data or programs went, if not where a person would look. */
  readonly notice?: string;
  /** Ends all sessions and stops Postgres: in 15 s in an orderly way, else at once. May be called twice. */
  readonly stop: () => Promise<void>;
  /**
   * What to tell of a failure to begin work on a database: where the disk is full Postgres says so in its own log, and
   * its clients only see that it is gone. The stop is then at once, as it would wait in vain to write everything down.
   */
  readonly explain: (error: unknown) => Promise<unknown>;
}

/** What tools read to find the databases of a running instance. 0600: it holds the superuser's password. */
export interface ConnectionFile {
  /** Of the node process that owns the instance. */
  readonly pid: number;
  /** URL by database name; empty while it starts. */
  readonly databases: Readonly<Record<string, string>>;
}

/** SQLSTATE. */
const DISK_FULL = "53100";
/** What a write of our own fails with. */
const NO_SPACE = new Set(["ENOSPC", "EDQUOT"]);

/** Another process has this data folder in use. */
export class AlreadyRunning extends Error {
  override readonly name = "AlreadyRunning";
  /** Of that process; undefined in the moment in which it has just begun. */
  readonly pid: number | undefined;
  readonly connectionFile: string;

  constructor(dataDir: string, pid: number | undefined) {
    const who = pid === undefined ? "another process" : `process ${pid}`;
    super(`${who} is already running on ${dataDir}; stop it, or choose another DATA_DIR.`);
    this.pid = pid;
    this.connectionFile = connectionFileOf(dataDir);
  }
}

export function connectionFileOf(dataDir: string): string {
  return join(dataDir, "connection.json");
}

/** Undefined where there is none, so no instance runs. It may be left over from a killed one: see `pid`. */
export async function readConnectionFile(dataDir: string): Promise<ConnectionFile | undefined> {
  const text = await readFile(connectionFileOf(dataDir), "utf8").catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  });
  return text === undefined ? undefined : (JSON.parse(text) as ConnectionFile);
}

/**
 * Starts a Postgres of our own on `<dataDir>/postgres`, in a process group of its own: it outlives Ctrl-C and this
 * process, so stop it last. What a killed process left running is stopped first.
 * @throws AlreadyRunning; Error with what to do (no package, full disk, another major version, no rights); the
 * reason of the signal.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const binaries = await findBinaries();
  makeDataDir(options.dataDir);
  const dataDir = await realpath(options.dataDir);
  const lock = lockFolder(dataDir);
  if (!lock) throw new AlreadyRunning(dataDir, (await readConnectionFile(dataDir).catch(() => undefined))?.pid);
  const { fsync = true, onProgress = () => undefined, log, signal } = options;
  let place: Place | undefined;
  let stopped: Promise<void> | undefined;
  let isFull = false;
  const explain = async (error: unknown) => {
    isFull ||= mayBeDisk(error) && place !== undefined && (await ranOutOfDisk(place));
    return isFull ? diskFull(place?.dataPath ?? dataDir, error) : error;
  };
  const stop = async () => {
    try {
      await rm(connectionFileOf(dataDir), { force: true });
      if (place) await stopServer(place, isFull);
    } finally {
      lock.release();
    }
  };
  try {
    await writeConnectionFile(dataDir, { pid: process.pid, databases: {} });
    place = await settlePlace(dataDir, binaries, onProgress);
    if (place.notice !== undefined) log.info(place.notice);
    await stopServer(place);
    const password = await openCluster(place, fsync, onProgress, signal);
    const port = await startServer(place, fsync);
    const urlOf = (database: string) =>
      `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
    signal?.throwIfAborted();
    await Promise.all(options.databases.map((database) => ensureDatabase(urlOf(database)))).catch(
      async (error: unknown) => {
        throw await explain(error);
      },
    );
    const databases = Object.fromEntries(options.databases.map((database) => [database, urlOf(database)]));
    await writeConnectionFile(dataDir, { pid: process.pid, databases });
    log.debug({ port, dataPath: place.dataPath }, "the embedded Postgres is up");
    const { dataPath, notice } = place;
    const running = { urlOf, dataPath, explain, stop: () => (stopped ??= stop()) };
    return notice === undefined ? running : { ...running, notice };
  } catch (error) {
    await stop().catch((failure: unknown) => {
      log.warn({ err: failure }, "the embedded Postgres could not be stopped");
    });
    throw NO_SPACE.has(codeOf(error)) ? diskFull(dataDir, error) : error;
  }
}

/** Whether an error, or what it comes of, is what a full disk looks like from here. */
function mayBeDisk(error: unknown): boolean {
  const code = codeOf(error);
  if (code === DISK_FULL || NO_SPACE.has(code) || isConnectionLost(error)) return true;
  return error instanceof Error && error.cause !== undefined && mayBeDisk(error.cause);
}

/** Written aside and renamed: a reader never sees half of it. */
async function writeConnectionFile(dataDir: string, content: ConnectionFile): Promise<void> {
  const file = connectionFileOf(dataDir);
  await rm(`${file}.new`, { force: true });
  await writeFile(`${file}.new`, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600, flag: "wx" });
  await rename(`${file}.new`, file);
}
