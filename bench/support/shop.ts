import { randomUUID } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { pino } from "pino";
import { derivedKeys } from "../../src/platform/assertion-keys.ts";
import { createAssertions } from "../../src/platform/assertion.ts";
import type { Subject } from "../../src/platform/call.ts";
import type { EmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";
import { startEmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";
import { migrateBus } from "../../src/platform/events/migrate-bus.ts";
import { databaseName, migrateDatabase } from "../../src/platform/migrate.ts";
import type { Registry } from "../../src/platform/role.ts";
import { registry } from "../../src/roles/registry.ts";
import type { Account } from "../../tests/support/accounts.ts";
import { createAccount, tokenOf } from "../../tests/support/accounts.ts";
import { makeFolder } from "../../tests/support/folders.ts";
import { freePort } from "../../tests/support/ports.ts";
import type { Server } from "./processes.ts";
import { startServer } from "./processes.ts";

export type Topology = "one" | "apart";

export interface ShopOptions {
  readonly topology: Topology;
  /** Counts statements; costs a few percent. */
  readonly countsStatements?: boolean;
  /** Lets a profiler in. */
  readonly isInspected?: boolean;
}

/** A whole shop on a Postgres of its own that is as durable as a real one: fsync and synchronous_commit are on. */
export interface Shop extends AsyncDisposable {
  readonly topology: Topology;
  /** Of the gateway. */
  readonly url: string;
  /** By role; the same one for all in one process. */
  readonly servers: Readonly<Record<string, Server>>;
  /** By a short name; `all` where there is one process. */
  readonly processes: readonly { readonly name: string; readonly server: Server }[];
  readonly postgresPid: number;
  /** The address of a role's own port, by which it is called past the gateway. */
  direct(role: string): string;
  /** Runs SQL on the database of a role, or on one of `spare`. */
  query<T extends object = Record<string, string>>(name: string, sql: string, values?: unknown[]): Promise<T[]>;
  urlOf(database: string): string;
  /** A database with the schema of a role in which nothing runs. */
  spare(role: string): Promise<{ readonly name: string; readonly url: string }>;
  /** `Bearer …` of so many buyers. */
  buyers(count: number): Promise<string[]>;
  /** The header with which a role proves itself to another, for a minute. */
  assertion(caller: string, callee: string, subject?: Subject): Promise<Record<string, string>>;
}

/** TOKEN_SECRET of the shops here. */
const secret = "a secret of the bench, at least 32 characters";
const EVENTS = "events";
const owners = Object.entries(registry).flatMap(([role, { database }]) => (database ? [role] : []));
const log = pino({ level: "warn" });

/** The limits that stand in the way of a load generator are raised; see bench/README.md. */
const raised = {
  RATE_LIMITS: "off",
  CALLS_AT_ONCE: "100000",
  CALLS_WAITING: "100000",
  STREAMS_PER_CALLER: "1000",
};

/** The databases of a shop, without the shop. */
export interface Databases extends AsyncDisposable {
  readonly folder: string;
  readonly postgres: EmbeddedPostgres;
  readonly env: Readonly<Record<string, string>>;
}

export async function startDatabases(countsStatements = false): Promise<Databases> {
  const folder = await makeFolder();
  const start = () =>
    startEmbeddedPostgres({ dataDir: folder.data, databases: [...owners, EVENTS].map(databaseName), log });
  let postgres = await start();
  if (countsStatements) {
    const client = await connected(postgres.urlOf("postgres"));
    await client.query("alter system set shared_preload_libraries = 'pg_stat_statements'");
    await client.end();
    await postgres.stop();
    postgres = await start();
  }
  const abandon = () => {
    endNow(postgres.dataPath, folder.path);
  };
  process.once("exit", abandon);
  for (const role of owners) await migrateDatabase({ url: postgres.urlOf(databaseName(role)), role, log });
  await migrateBus(postgres.urlOf(databaseName(EVENTS)), log);
  const urls = owners.map((role) => [`${role.toUpperCase()}_DATABASE_URL`, postgres.urlOf(databaseName(role))]);
  return {
    folder: folder.path,
    postgres,
    env: {
      ...Object.fromEntries(urls),
      ...raised,
      BUS_URL: postgres.urlOf(databaseName(EVENTS)),
      TOKEN_SECRET: secret,
      LISTEN_HOST: "127.0.0.1",
    },
    async [Symbol.asyncDispose]() {
      process.off("exit", abandon);
      await postgres.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A bench that is broken off: Postgres leads a group of its own, and an exiting process cannot wait. */
function endNow(dataPath: string, folder: string): void {
  const [pid] = readFileSync(join(dataPath, "postmaster.pid"), "utf8").split("\n");
  process.kill(Number(pid), "SIGQUIT");
  for (const path of [dataPath, folder]) rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}

export async function startShop({ topology, countsStatements, isInspected }: ShopOptions): Promise<Shop> {
  const databases = await startDatabases(countsStatements);
  const { postgres, folder } = databases;
  const inspect: Record<string, string> = isInspected ? { NODE_OPTIONS: "--inspect=127.0.0.1:0" } : {};
  const servers = await startServers(topology, { ...databases.env, ...inspect }, folder);
  const url = `http://127.0.0.1:${String(servers["gateway"]?.ports["gateway"])}`;
  const clients = new Map<string, Client>();
  const accounts: Account[] = [];
  const roles: Registry = registry;
  const speakers = { keys: derivedKeys(secret), roles };

  async function clientOf(database: string): Promise<Client> {
    const known = clients.get(database);
    if (known) return known;
    const client = await connected(postgres.urlOf(database));
    clients.set(database, client);
    return client;
  }

  return {
    topology,
    url,
    servers,
    processes:
      topology === "one"
        ? Object.values(servers)
            .slice(0, 1)
            .map((server) => ({ name: "all", server }))
        : Object.entries(servers).map(([name, server]) => ({ name, server })),
    postgresPid: Number(readFileSync(join(postgres.dataPath, "postmaster.pid"), "utf8").split("\n")[0]),
    direct: (role) => `http://127.0.0.1:${String(servers[role]?.ports[role])}`,
    async query<T extends object>(name: string, sql: string, values: unknown[] = []) {
      const client = await clientOf(owners.includes(name) ? databaseName(name) : name);
      return (await client.query<T>(sql, values)).rows;
    },
    urlOf: (database) => postgres.urlOf(database),
    async spare(role) {
      const name = `bench_${role}_${String(clients.size)}`;
      await (await clientOf("postgres")).query(`create database ${name}`);
      await migrateDatabase({ url: postgres.urlOf(name), role, log });
      return { name, url: postgres.urlOf(name) };
    },
    async buyers(count) {
      while (accounts.length < count) {
        const account = { email: `${randomUUID()}@bench.example`, password: "a password of the bench" };
        await createAccount(url, account, postgres.urlOf(databaseName("user")));
        accounts.push(account);
      }
      const tokens = await Promise.all(accounts.slice(0, count).map((account) => tokenOf(url, account)));
      return tokens.map((token) => `Bearer ${token}`);
    },
    async assertion(caller, callee, subject = { kind: "service", role: caller }) {
      const assertions = createAssertions(caller, speakers);
      return { "x-commerce-assertion": await assertions.sign(callee, subject, subject.kind !== "service") };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...clients.values()].map((client) => client.end()));
      await Promise.all([...new Set(Object.values(servers))].map((server) => server[Symbol.asyncDispose]()));
      await databases[Symbol.asyncDispose]();
    },
  };
}

export async function startServers(
  topology: Topology,
  env: Readonly<Record<string, string>>,
  folder: string,
): Promise<Record<string, Server>> {
  const roles = Object.keys(registry);
  if (topology === "one") {
    const all = await startServer({ ...env, PORT: "0" }, folder, "all");
    return Object.fromEntries(roles.map((role) => [role, all]));
  }
  const addresses = await addressesOf(roles);
  const started = roles.map(async (role) => {
    return [role, await startServer({ ...env, ...addresses, ROLE: role }, folder, role)] as const;
  });
  return Object.fromEntries(await Promise.all(started));
}

/** The keys that tell each role where it and the others listen. */
export async function addressesOf(roles: readonly string[]): Promise<Record<string, string>> {
  const ports = await Promise.all(roles.map(async (role) => [role.toUpperCase(), String(await freePort())] as const));
  return Object.fromEntries(
    ports.flatMap(([name, port]) => [
      [`${name}_PORT`, port],
      [`${name}_URL`, `http://127.0.0.1:${port}`],
    ]),
  );
}

async function connected(connectionString: string): Promise<Client> {
  const client = new Client({ connectionString, application_name: "commerce-bench" });
  await client.connect();
  return client;
}
