import { registry } from "../../src/roles/registry.ts";
import { freePort } from "./ports.ts";
import type { ServerProcess } from "./process.ts";
import { startProcess } from "./process.ts";
import type { TestDatabase } from "./postgres.ts";
import { createTestDatabase } from "./postgres.ts";

export const topologies = ["one process", "a process per role"] as const;
export type Topology = (typeof topologies)[number];

/** A whole shop on databases of its own: real processes, real ports. */
export interface Installation extends AsyncDisposable {
  /** Of the gateway. */
  readonly url: string;
  /** The processes by role; the same one for all in one process. */
  readonly processes: Readonly<Record<string, ServerProcess>>;
  readonly databases: Readonly<Record<string, TestDatabase>>;
  /** Starts the process of a role again, where it was. */
  start(role: string): Promise<void>;
}

const secret = "a secret of the tests, at least 32 characters";

/** The roles that have a database. */
export const owners = Object.entries(registry).flatMap(([role, { database }]) => (database ? [role] : []));

export async function startInstallation(
  topology: Topology,
  env: Readonly<Record<string, string>> = {},
  given?: Readonly<Record<string, TestDatabase>>,
): Promise<Installation> {
  const databases = given ?? (await createTestDatabases());
  const base = { TOKEN_SECRET: secret, PORT: "0", ...env };
  const urlsOfDatabases = Object.fromEntries(
    Object.entries(databases).map(([role, { url }]) => [`${role.toUpperCase()}_DATABASE_URL`, url]),
  );
  const processes: Record<string, ServerProcess> = {};
  let shared: Record<string, string> = {};
  if (topology === "one process") {
    const all = await startProcess({ ...base, ...urlsOfDatabases });
    for (const role of Object.keys(registry)) processes[role] = all;
    shared = { ...base, ...urlsOfDatabases, PORT: String(all.ports["gateway"]) };
  } else {
    const ports = await Promise.all(Object.keys(registry).map(async (role) => [role, await freePort()] as const));
    const addresses = ports.flatMap(([role, port]) => [
      [`${role.toUpperCase()}_PORT`, String(port)] as const,
      [`${role.toUpperCase()}_URL`, `http://127.0.0.1:${String(port)}`] as const,
    ]);
    shared = { ...base, PORT: "", ...Object.fromEntries(addresses), ...urlsOfDatabases };
    await Promise.all(
      Object.keys(registry).map(async (role) => {
        processes[role] = await startProcess({ ...shared, ROLE: role });
      }),
    );
  }
  return {
    url: `http://127.0.0.1:${String(processes["gateway"]?.ports["gateway"])}`,
    processes,
    databases,
    async start(role) {
      const roles = topology === "one process" ? Object.keys(registry) : [role];
      const started = await startProcess(topology === "one process" ? shared : { ...shared, ROLE: role });
      for (const name of roles) processes[name] = started;
    },
    async [Symbol.asyncDispose]() {
      const running = new Set(Object.values(processes));
      await Promise.all([...running].map((server) => server[Symbol.asyncDispose]()));
      await Promise.all(Object.values(databases).map((database) => database.drop()));
    },
  };
}

async function createTestDatabases(): Promise<Record<string, TestDatabase>> {
  return Object.fromEntries(
    await Promise.all(owners.map(async (role) => [role, await createTestDatabase(role)] as const)),
  );
}
