import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, lstatSync, mkdirSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { copyBinaries } from "./binaries.ts";
import type { Binaries } from "./binaries.ts";

/** Whom Postgres runs as; it refuses to run as root. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Where the data lies and who reads it. */
export interface Place {
  readonly dataPath: string;
  readonly binaries: Binaries;
  /** Left out where Postgres runs as this process's own account. */
  readonly account?: Account;
  /** What the person should know: the data or programs are not below the data folder. */
  readonly notice?: string;
}

const NOBODY = 65534;

/**
 * Makes DATA_DIR. As root others may pass through it (0711), as Postgres runs as another account then; its files are
 * protected by their own modes. An existing folder is left as it is.
 */
export function makeDataDir(dataDir: string): void {
  const root = process.getuid?.() === 0;
  try {
    const made = mkdirSync(dataDir, { recursive: true, mode: root ? 0o711 : 0o700 });
    if (made !== undefined && root) chmodSync(dataDir, 0o711);
  } catch (cause) {
    throw new Error(`The data folder ${dataDir} cannot be made; choose another DATA_DIR.`, { cause });
  }
}

/** What the decision looks at; the tests replace it. */
export interface Surroundings {
  /** Folders to fall back on, best first. */
  readonly bases: readonly string[];
  /** Whether the account that Postgres runs as can pass through a folder; makes those below `bases`. */
  reaches(folder: string): boolean;
  /** Whether a folder already holds data. */
  holdsData(folder: string): boolean;
}

/**
 * Which folder holds the data: DATA_DIR itself, unless `account` (undefined for our own) cannot pass through it, as in a
 * clone below a 0700 home. Then it is a folder below one of the bases, the same for the same DATA_DIR. Data stays where
 * it once was made, whatever the rights are now: nobody may find an empty shop because of a chmod.
 */
export function decideFolder(dataDir: string, account: Account | undefined, around: Surroundings): string {
  if (!account) return dataDir;
  const hash = createHash("sha256").update(dataDir).digest("hex").slice(0, 16);
  const folders = [dataDir, ...around.bases.map((base) => join(base, hash))];
  const used = folders.find((folder) => around.holdsData(folder));
  const folder = used ?? folders.find((candidate) => around.reaches(candidate));
  if (folder !== undefined && (used === undefined || around.reaches(folder))) return folder;
  throw new Error(
    `Postgres cannot run as root, and uid ${account.uid}, which it would run as, cannot reach ` +
      `${used ?? folders.join(", ")}: let it pass (chmod o+x), start this as an ordinary user, or give DATABASE_URL.`,
  );
}

/** Settles where the data of `dataDir` (its real path) lies; copies the programs where their place is out of reach. */
export async function settlePlace(
  dataDir: string,
  binaries: Binaries,
  onProgress: (message: string) => void,
): Promise<Place> {
  const account = otherAccount(join(dataDir, "postgres"));
  if (!account) return { dataPath: join(dataDir, "postgres"), binaries };
  const bases = ["/var/lib/connect-commerce", join(realpathSync(tmpdir()), "connect-commerce")];
  const folder = decideFolder(dataDir, account, {
    bases,
    reaches: (path) => {
      const ours = path === dataDir || (makeRootFolder(dirname(path)) && makeRootFolder(path));
      return ours && passes(account, path);
    },
    holdsData: (path) => existsSync(join(path, "postgres", "PG_VERSION")),
  });
  const dataPath = join(folder, "postgres");
  const notes: string[] = [];
  if (folder !== dataDir) notes.push(`its data is in ${dataPath}`);
  let programs = binaries;
  if (!passes(account, join(binaries.native, "bin", "postgres"))) {
    const base = bases.find((path) => makeRootFolder(path) && passes(account, path));
    if (base === undefined)
      throw new Error(`uid ${account.uid} reaches none of ${bases.join(", ")}; give DATABASE_URL.`);
    programs = await copyBinaries(binaries, base, onProgress);
    notes.push(`its programs in ${programs.native}`);
  }
  if (notes.length === 0) return { dataPath, binaries: programs, account };
  const notice = `Postgres runs as uid ${account.uid}, which cannot reach everything here: ${notes.join(", ")}.`;
  return { dataPath, binaries: programs, account, notice };
}

/** Undefined for an ordinary user; as root the owner of data that an ordinary user made, else nobody. */
function otherAccount(dataPath: string): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  if (existsSync(dataPath)) {
    const { uid, gid } = lstatSync(dataPath);
    if (uid !== 0) return { uid, gid };
  }
  return { uid: idOf("-u"), gid: idOf("-g") };
}

function idOf(option: "-u" | "-g"): number {
  try {
    const id = Number(
      execFileSync("id", [option, "nobody"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    );
    return Number.isInteger(id) && id > 0 ? id : NOBODY;
  } catch {
    return NOBODY;
  }
}

/** Asked of the system as that account: modes alone do not tell (ACLs, mounts, containers). */
function passes(account: Account, path: string): boolean {
  const probe = spawnSync("/bin/sh", ["-c", 'test -x "$1"', "sh", path], { ...account, cwd: "/", stdio: "ignore" });
  if (probe.error) {
    throw new Error(`Postgres cannot run as root, and starting it as uid ${account.uid} fails; give DATABASE_URL.`, {
      cause: probe.error,
    });
  }
  return probe.status === 0;
}

/** Makes a folder that only root writes to; false where that fails or, below /tmp, where somebody else made it. */
function makeRootFolder(path: string): boolean {
  try {
    mkdirSync(path, { recursive: true, mode: 0o755 });
    const { uid, mode } = lstatSync(path);
    if (!lstatSync(path).isDirectory() || uid !== 0 || (mode & 0o022) !== 0) return false;
    chmodSync(path, 0o755);
    return true;
  } catch {
    return false;
  }
}
