import { existsSync } from "node:fs";
import { chmod, readFile, readlink, realpath, rename, stat, statfs, writeFile } from "node:fs/promises";
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { SETTINGS_FILE, diskFull } from "./cluster.ts";
import type { Place } from "./place.ts";
import { lastLines, run } from "./programs.ts";

/** Recovery after a crash happens before a start is done: seconds. */
const START_SECONDS = 120;
const FAST_STOP_SECONDS = 15;
const IMMEDIATE_STOP_SECONDS = 10;
const KILL_MS = 5_000;
const START_ATTEMPTS = 20;
const MAX_LOG_BYTES = 5_000_000;

const NO_SPACE = /No space left on device|Check free disk space/;
/** What the server must be able to write to go on. */
const WAL_SEGMENT_BYTES = 16 * 1024 * 1024;

/** A pid that no system gives out. */
const NO_PID = "99999999";

/** Starts Postgres on a free port of 127.0.0.1 and answers the port. @throws Error with the end of its log. */
export async function startServer(place: Place, fsync: boolean): Promise<number> {
  const log = join(place.dataPath, "server.log");
  if (existsSync(log) && (await stat(log)).size > MAX_LOG_BYTES) await rename(log, `${log}.old`);
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const settingsFile = join(place.dataPath, SETTINGS_FILE);
    await writeFile(settingsFile, settings(port, fsync));
    // Whatever the umask: the account of Postgres reads it, and the data folder keeps others out.
    await chmod(settingsFile, 0o644);
    const before = existsSync(log) ? (await stat(log)).size : 0;
    const args = ["start", "-w", "-s", "-t", String(START_SECONDS), "-D", place.dataPath, "-l", log];
    const { code } = await run(place, "pg_ctl", args, { detached: true });
    if (code === 0) return port;
    const said = existsSync(log) ? (await readFile(log)).subarray(before).toString().trim() : "";
    // A port that was taken meanwhile; or the backends of a killed server, which end as soon as they notice.
    const passing = /could not bind|could not create any TCP|pre-existing shared memory block/.test(said);
    if (!passing || attempt === START_ATTEMPTS) {
      await stopServer(place);
      throw startFailure(place, said);
    }
    await sleep(Math.min(50 * attempt, 500));
  }
}

function startFailure(place: Place, said: string): Error {
  if (NO_SPACE.test(said)) {
    return diskFull(place.dataPath, said);
  }
  const lines = lastLines(said) || "it said nothing";
  return new Error(
    `The embedded Postgres did not start; its log, ${join(place.dataPath, "server.log")}, ends:\n${lines}`,
  );
}

/** Sized for a laptop. Without fsync (throwaway databases) nothing is kept safe and no background work interferes. */
function settings(port: number, fsync: boolean): string {
  const durable = fsync ? "on" : "off";
  return `# Written at every start.
listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
fsync = ${durable}
synchronous_commit = ${durable}
full_page_writes = ${durable}
autovacuum = ${durable}
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_min_messages = log
log_min_error_statement = panic
log_checkpoints = off
`;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new Error("No port of 127.0.0.1 is free."));
      });
    });
  });
}

/** Whether the disk has no room for the server that was started last: it says so, where it could still write that. */
export async function ranOutOfDisk({ dataPath }: Place): Promise<boolean> {
  const { bavail, bsize } = await statfs(dataPath);
  if (bavail * bsize < WAL_SEGMENT_BYTES) return true;
  const said = await readFile(join(dataPath, "server.log"), "utf8").catch(() => "");
  return NO_SPACE.test(said.slice(said.lastIndexOf("starting PostgreSQL")));
}

/**
 * Stops the server of this data folder, if one runs: also one whose node process was killed. Only the holder of the
 * folder's lock may call this. Sessions are ended, transactions in flight roll back.
 * @param now as after a crash: the next start recovers
 */
export async function stopServer(place: Place, now = false): Promise<void> {
  const pid = await runningPid(place.dataPath);
  if (pid === undefined) return;
  const stop = (mode: string, seconds: number) =>
    run(place, "pg_ctl", ["stop", "-w", "-s", "-m", mode, "-t", String(seconds), "-D", place.dataPath]);
  if (!now && ((await stop("fast", FAST_STOP_SECONDS)).code === 0 || !isAlive(pid))) return;
  if ((await stop("immediate", IMMEDIATE_STOP_SECONDS)).code === 0 || !isAlive(pid)) return;
  process.kill(pid, "SIGKILL");
  for (let waited = 0; waited < KILL_MS && (await runningPid(place.dataPath)) !== undefined; waited += 50)
    await sleep(50);
}

/**
 * The pid of the server that runs on this data folder. After a crash of the machine (or in a new container)
 * postmaster.pid may name a process that has nothing to do with it: Postgres would refuse to start and pg_ctl would
 * signal a stranger. So it is with a killed server that nobody reaps (node as process 1 of a container). The pid in the
 * file is replaced then; the rest stays, for Postgres looks up old shared memory by it.
 */
async function runningPid(dataPath: string): Promise<number | undefined> {
  const file = join(dataPath, "postmaster.pid");
  const text = await readFile(file, "utf8").catch(() => "");
  const [first = "", ...rest] = text.split("\n");
  const pid = Number(first);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined;
  if (await isServer(pid, dataPath)) return pid;
  await writeFile(file, [NO_PID, ...rest].join("\n"));
  return undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** A postmaster's working directory is its data folder. Where that cannot be seen, its name has to do. */
async function isServer(pid: number, dataPath: string): Promise<boolean> {
  if (process.platform === "linux") {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
    return cwd !== undefined && cwd === (await realpath(dataPath));
  }
  if (process.platform === "win32") return true;
  const command = await promisify(execFile)("ps", ["-p", String(pid), "-o", "command="]).catch(() => undefined);
  return command?.stdout.includes("postgres") ?? false;
}
