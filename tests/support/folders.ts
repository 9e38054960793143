import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { startEmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";

/** A folder of a person who starts the shop for the first time; its `data` does not exist yet. */
export interface Folder extends AsyncDisposable {
  readonly path: string;
  /** For DATA_DIR. */
  readonly data: string;
}

/** Makes an empty folder. Disposing of it ends a Postgres that a killed shop left behind in its data, and removes it. */
export async function makeFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), "connect-commerce-journey-"));
  // As root Postgres runs as another account, which has to pass.
  await chmod(path, 0o711);
  const data = join(path, "data");
  return {
    path,
    data,
    async [Symbol.asyncDispose]() {
      if (existsSync(join(data, "lock"))) {
        const log = pino({ level: "silent" });
        const left = await startEmbeddedPostgres({ dataDir: data, databases: [], log, fsync: false });
        await left.stop();
        await rm(left.dataPath, { recursive: true, force: true });
      }
      await rm(path, { recursive: true, force: true });
    },
  };
}
