import { randomBytes } from "node:crypto";
import { existsSync, lstatSync } from "node:fs";
import { appendFile, chmod, chown, mkdir, readFile, readdir, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Place } from "./place.ts";
import { lastLines, run } from "./programs.ts";

/** The superuser of an embedded Postgres. */
export const SUPERUSER = "postgres";

/** Settings that change from start to start; written by `startServer`. */
export const SETTINGS_FILE = "commerce.conf";

/** In the data folder, so that the data and its password never part. */
const PASSWORD_FILE = "superuser.password";

/**
 * Makes the data folder if it is missing, and answers the superuser's password. A crash or failure on the way leaves
 * nothing behind: the folder gets its name when it is complete.
 * @throws Error with what to do: another major version, another owner, a full disk; the signal's reason.
 */
export async function openCluster(
  place: Place,
  fsync: boolean,
  onProgress: (message: string) => void,
  signal?: AbortSignal,
): Promise<string> {
  const { dataPath } = place;
  await rm(`${dataPath}.new`, { recursive: true, force: true });
  if (existsSync(dataPath) && (await readdir(dataPath)).length === 0) await rmdir(dataPath);
  if (!existsSync(dataPath)) {
    onProgress("Preparing the database for its first start");
    await initialise(place, fsync, signal);
  }
  await checkUsable(place);
  return (await readFile(join(dataPath, PASSWORD_FILE), "utf8")).trim();
}

async function initialise(place: Place, fsync: boolean, signal: AbortSignal | undefined): Promise<void> {
  const half = `${place.dataPath}.new`;
  const passwordFile = `${place.dataPath}.password`;
  const password = randomBytes(24).toString("base64url");
  try {
    await prepareFolder(place);
    await rm(passwordFile, { force: true });
    await writeFile(passwordFile, password, { mode: 0o600, flag: "wx" });
    if (place.account) await chown(passwordFile, place.account.uid, place.account.gid);
    // Not the machine's locale: the same order and case rules everywhere, and an image may have no other one.
    const args = ["--pgdata", half, "--username", SUPERUSER, "--pwfile", passwordFile, "--auth", "scram-sha-256"];
    args.push("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8");
    args.push("--text-search-config", "english", "--no-instructions");
    if (!fsync) args.push("--no-sync");
    const { code, output } = await run(place, "initdb", args, { signal });
    if (code !== 0) throw new Error(lastLines(output) || `initdb ended with code ${String(code)}`);
    await appendFile(join(half, "postgresql.conf"), `include_if_exists '${SETTINGS_FILE}'\n`, { flush: fsync });
    await writeFile(join(half, PASSWORD_FILE), password, { mode: 0o600, flush: fsync });
    await rename(half, place.dataPath);
  } catch (error) {
    await rm(half, { recursive: true, force: true });
    throw signal?.aborted ? error : initFailure(place, error);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** initdb must be able to make its folder: as root that is another account's. */
async function prepareFolder(place: Place): Promise<void> {
  if (!place.account) return;
  const half = `${place.dataPath}.new`;
  await mkdir(half, { mode: 0o700 });
  await chmod(half, 0o700);
  await chown(half, place.account.uid, place.account.gid);
}

function initFailure(place: Place, cause: unknown): Error {
  const text = cause instanceof Error ? cause.message : String(cause);
  const folder = dirname(place.dataPath);
  if (/ENOSPC|No space left on device|Check free disk space|Disk quota exceeded|EDQUOT/.test(text)) {
    return diskFull(folder, cause);
  }
  if (/EACCES|EPERM|EROFS|Permission denied|Read-only file system/.test(text)) {
    return new Error(`The embedded Postgres cannot write to ${folder}; choose another DATA_DIR.`, { cause });
  }
  return new Error(`The embedded Postgres could not make its data folder in ${folder}: ${text}`, { cause });
}

/** What to say of a disk that cannot take the data. */
export function diskFull(folder: string, cause: unknown): Error {
  return new Error(`The disk is full: the embedded Postgres needs about 150 MB in ${folder} to begin with.`, { cause });
}

async function checkUsable({ dataPath, binaries, account }: Place): Promise<void> {
  const uid = process.getuid?.();
  if (!account && uid !== undefined && lstatSync(dataPath).uid !== uid) {
    throw new Error(`${dataPath} belongs to another account; start as that one, or choose another DATA_DIR.`);
  }
  const made = (await readFile(join(dataPath, "PG_VERSION"), "utf8").catch(() => "")).trim();
  const major = binaries.version.split(".")[0] ?? "";
  if (made === major) return;
  if (made === "" || !existsSync(join(dataPath, PASSWORD_FILE))) {
    throw new Error(`${dataPath} is not a data folder of the embedded Postgres; move it away.`);
  }
  throw new Error(
    `${dataPath} was made by Postgres ${made}, and this is Postgres ${major}, which cannot read it. Move it away to ` +
      `start afresh, or go back to the release that made it, dump the databases there, and load them here.`,
  );
}
