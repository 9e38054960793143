import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";

export interface FolderLock {
  release(): void;
}

const SQLITE_BUSY = 5;

/** Keeps the locks from the garbage collector, which would give them up where a caller drops its handle. */
const held = new Set<DatabaseSync>();

/**
 * Takes the exclusive lock of a folder for the life of this process; undefined where another (or this) process holds
 * it. It is SQLite's lock on an empty file: the kernel drops it when the process dies, kill -9 included, so there is
 * nothing stale to take over and no pid to be fooled by, on every platform. Not for network file systems.
 */
export function lockFolder(folder: string): FolderLock | undefined {
  // Looked up at run time: bundlers and test runners do not know every builtin module.
  const sqlite = process.getBuiltinModule("node:sqlite");
  let database: DatabaseSync | undefined;
  try {
    database = new sqlite.DatabaseSync(join(folder, "lock"));
    database.exec("begin exclusive");
  } catch (error) {
    database?.close();
    if ((error as { errcode?: unknown }).errcode === SQLITE_BUSY) return undefined;
    throw new Error(`The folder ${folder} cannot be locked; may this account write to it?`, { cause: error });
  }
  const mine = database;
  held.add(mine);
  return {
    release: () => {
      if (held.delete(mine)) mine.close();
    },
  };
}
