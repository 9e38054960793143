import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { databaseKey, databaseUrls, eventsDatabaseUrl } from "../platform/config-databases.ts";
import { busUrl, reader } from "../platform/config-validators.ts";
import { ConfigError } from "../platform/config.ts";
import { databaseName } from "../platform/database-name.ts";
import { connectionFileOf } from "../platform/embedded-postgres.ts";
import type { ConnectionFile } from "../platform/embedded-postgres.ts";
import { readEnvironment } from "../platform/environment.ts";
import type { Environment } from "../platform/environment.ts";

export interface DatabaseSources {
  /** `--database <role>=<url>`, by role. */
  readonly given?: Readonly<Record<string, string>>;
  /** True where the command works on one role only: DATABASE_URL then names its database, not just the server. */
  readonly single?: boolean;
  readonly env?: Environment;
}

/**
 * Where a role's database is, as the server finds it: `--database`, the environment, and where that says nothing the
 * instance that runs on DATA_DIR. @throws Error that lists the ways, where none is there.
 */
export function databaseUrl(role: string, sources: DatabaseSources = {}): string {
  return findUrl(role, databaseKey(role), sources, (read) => databaseUrls([role], sources.single ?? true, read)[role]);
}

/** Where the bus is: its database `events`, or a broker. Like {@link databaseUrl}, with BUS_URL as its own key. */
export function busAddress(sources: Omit<DatabaseSources, "single"> = {}): string {
  return findUrl("events", "BUS_URL", sources, (read) => {
    const { BUS_URL } = read({ BUS_URL: busUrl({ default: undefined, desc: "Where events go" }) });
    return BUS_URL ?? eventsDatabaseUrl(read);
  });
}

type Read = ReturnType<typeof reader>;

function findUrl(
  role: string,
  key: string,
  sources: DatabaseSources,
  inEnvironment: (read: Read) => string | undefined,
): string {
  const env = sources.env ?? readEnvironment();
  const given = sources.given?.[role];
  if (given !== undefined) return given;
  const problems: string[] = [];
  const url = inEnvironment(reader(env, problems));
  if (problems.length > 0) throw new ConfigError(problems);
  if (url !== undefined) return url;
  const dataDir = resolve(env["DATA_DIR"] ?? ".data");
  const running = embeddedUrl(role, dataDir);
  if (running !== undefined) return running;
  throw new Error(
    `No database is known for ${role}: start the shop (npm start; its data folder would be ${dataDir}), or give ` +
      `--database ${role}=postgres://…, ${key} or DATABASE_URL.`,
  );
}

/** Undefined where no instance runs: a file that a killed one left does not count. */
function embeddedUrl(role: string, dataDir: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(connectionFileOf(dataDir), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const { pid, databases } = JSON.parse(text) as ConnectionFile;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return undefined;
  }
  const url = databases[databaseName(role)];
  if (url === undefined) throw new Error(`The shop on ${dataDir} has no database for ${role}; is it still starting?`);
  return url;
}
