import { registry } from "../../src/roles/registry.ts";
import { admin, createAccount } from "./accounts.ts";
import { freePort } from "./ports.ts";
import type { ServerProcess } from "./process.ts";
import { startProcess } from "./process.ts";
import type { TestDatabase } from "./postgres.ts";
import { createTestDatabase } from "./postgres.ts";

export const topologies = ["one process", "a process per role"] as const;
export type Topology = (typeof topologies)[number];

/** A whole shop on databases of its own, with an account `admin`: real processes, real ports. */
export interface Installation extends AsyncDisposable {
  /** Of the gateway. */
  readonly url: string;
  /** The processes by role; the same one for all in one process. */
  readonly processes: Readonly<Record<string, ServerProcess>>;
  readonly databases: Readonly<Record<string, TestDatabase>>;
  /** Starts the process of a role again, where it was. */
  start(role: string): Promise<void>;
  /** Starts one more process of a role on a port of its own; in one process, of the whole shop. Answers its address. */
  another(role: string): Promise<string>;
}

/** TOKEN_SECRET of every installation here. */
export const secret = "a secret of the tests, at least 32 characters";

type Environment = Readonly<Record<string, string>>;

/** The database of the bus. */
export const EVENTS = "events";

/** The roles that have a database. */
export const owners = Object.entries(registry).flatMap(([role, { database }]) => (database ? [role] : []));

/** @param env beside what is needed; as a function, of each process by its role, `all` of the only one. */
export async function startInstallation(
  topology: Topology,
  env: Environment | ((role: string) => Environment) = {},
  given?: Readonly<Record<string, TestDatabase>>,
): Promise<Installation> {
  const databases = given ?? (await createTestDatabases());
  const envOf = typeof env === "function" ? env : () => env;
  const base = {
    BUS_URL: databases["events"]?.url ?? "",
    TOKEN_SECRET: secret,
    PORT: String(await freePort()),
    LISTEN_HOST: "127.0.0.1",
    RATE_LIMITS: "off",
    ...envOf("all"),
  };
  const urlsOfDatabases = Object.fromEntries(
    owners.map((role) => [`${role.toUpperCase()}_DATABASE_URL`, databases[role]?.url ?? ""]),
  );
  const processes: Record<string, ServerProcess> = {};
  let shared: Record<string, string> = {};
  if (topology === "one process") {
    const all = await startProcess({ ...base, ...urlsOfDatabases });
    for (const role of Object.keys(registry)) processes[role] = all;
    shared = { ...base, ...urlsOfDatabases };
  } else {
    const ports = await Promise.all(Object.keys(registry).map(async (role) => [role, await freePort()] as const));
    const addresses = ports.flatMap(([role, port]) => [
      [`${role.toUpperCase()}_PORT`, String(port)] as const,
      [`${role.toUpperCase()}_URL`, `${schemeOf(envOf(role))}://127.0.0.1:${String(port)}`] as const,
    ]);
    shared = { ...base, PORT: "", ...Object.fromEntries(addresses), ...urlsOfDatabases };
    await Promise.all(
      Object.keys(registry).map(async (role) => {
        processes[role] = await startProcess({ ...shared, ...envOf(role), ROLE: role });
      }),
    );
  }
  const more: ServerProcess[] = [];
  const scheme = schemeOf(envOf(topology === "one process" ? "all" : "gateway"));
  const url = `${scheme}://127.0.0.1:${String(processes["gateway"]?.ports["gateway"])}`;
  await createAccount(url, admin, databases["user"]?.url ?? "", ["admin"]);
  return {
    url,
    processes,
    databases,
    async start(role) {
      const roles = topology === "one process" ? Object.keys(registry) : [role];
      const started = await startProcess(
        topology === "one process" ? shared : { ...shared, ...envOf(role), ROLE: role },
      );
      for (const name of roles) processes[name] = started;
    },
    async another(role) {
      const isAll = topology === "one process";
      const own = isAll ? { ...shared, PORT: "0" } : { ...shared, ...envOf(role), PORT: "0", ROLE: role };
      const started = await startProcess(own);
      more.push(started);
      return `${schemeOf(envOf(isAll ? "all" : role))}://127.0.0.1:${String(started.ports[isAll ? "gateway" : role])}`;
    },
    async [Symbol.asyncDispose]() {
      const running = new Set([...Object.values(processes), ...more]);
      await Promise.all([...running].map((server) => server[Symbol.asyncDispose]()));
      await Promise.all(Object.values(databases).map((database) => database.drop()));
    },
  };
}

function schemeOf({ TLS_CERT_FILE = "" }: Environment): string {
  return TLS_CERT_FILE === "" ? "http" : "https";
}

async function createTestDatabases(): Promise<Record<string, TestDatabase>> {
  return Object.fromEntries(
    await Promise.all([...owners, EVENTS].map(async (role) => [role, await createTestDatabase(role)] as const)),
  );
}
