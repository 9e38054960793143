import { databaseKey, databaseUrls, eventsDatabaseUrl, keyPrefix } from "./config-databases.ts";
import type { TlsConfig } from "./config-tls.ts";
import { readTls } from "./config-tls.ts";
import {
  addressList,
  busUrl,
  host,
  httpUrl,
  listenAddress,
  originList,
  port,
  publicUrl,
  reader,
  secret,
  str,
  wholeNumber,
} from "./config-validators.ts";
import type { ConfigSpec, Read } from "./config-validators.ts";
import type { Environment } from "./environment.ts";

export { str, validator, wholeNumber } from "./config-validators.ts";
export type { ConfigOf, ConfigSpec } from "./config-validators.ts";

/** All that is wrong with the configuration, one line a key. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`The configuration has ${String(problems.length)} problem(s):\n${problems.map((p) => `  ${p}`).join("\n")}`);
    this.problems = problems;
  }
}

/** What the configuration needs to know of a role. */
export interface ConfiguredRole {
  readonly port: number;
  readonly database: boolean;
  readonly edge: boolean;
  /** Prefix of its `_HOST` and `_PORT` aliases; `<ROLE>SERVICE` where it is left out. */
  readonly alias?: string;
  readonly config: ConfigSpec;
}

export interface Config {
  /** The roles that run here. */
  readonly roles: readonly string[];
  /** Every role there is runs here, because none was named: migrate on boot, an embedded Postgres where none is given. */
  readonly all: boolean;
  readonly dataDir: string;
  /** The address that ports are opened on. */
  readonly listenHost: string;
  /** Addresses of proxies in front, see TRUSTED_PROXIES. */
  readonly trustedProxies: readonly string[];
  /** Origins whose pages may read answers, see CORS_ORIGINS. */
  readonly corsOrigins: readonly string[];
  readonly tls: TlsConfig;
  /** The folder of the keys of roles; undefined: they follow from the secret. */
  readonly keysDir: string | undefined;
  readonly log: { readonly level: string; readonly format: "pretty" | "json" | undefined };
  /** Signs page tokens and what roles say to each other; undefined where it is to be made under the data folder. */
  readonly secret: string | undefined;
  /** Milliseconds that calls get to finish when the process is told to stop. */
  readonly graceMs: number;
  readonly pool: { readonly size: number; readonly statementTimeoutMs: number };
  /** The ports to open; 0 takes any free one. */
  readonly listen: Readonly<Record<string, number>>;
  /** Where each role's database is; undefined: embedded. */
  readonly databases: Readonly<Record<string, string>> | undefined;
  /** Where events go: a Postgres database or a broker; undefined: embedded. */
  readonly bus: string | undefined;
  /** Where clients reach the shop, for links in mails; undefined: the gateway's port on this machine. */
  readonly publicUrl: string | undefined;
  /** Where a role is found that runs elsewhere. */
  readonly urls: Readonly<Record<string, URL>>;
  /** Each role's own keys. */
  readonly ofRole: Readonly<Record<string, unknown>>;
}

/** What is read before all else: it says which other keys there are. */
export const roleSpec = {
  ROLE: str({ default: "all", desc: "The roles that run here: one, a comma list, or all", example: "user,product" }),
};

const platformSpec = {
  PORT: port({ default: undefined, desc: "Port of the gateway, or of the only role", example: "8080" }),
  LISTEN_HOST: listenAddress({
    default: undefined,
    desc: "Address to listen on; empty: 127.0.0.1, or 0.0.0.0 where ROLE names roles",
    example: "0.0.0.0",
  }),
  TRUSTED_PROXIES: addressList({
    default: undefined,
    desc: "Addresses of the proxies in front of the gateway, whose X-Forwarded-For tells the client's; a comma list",
    example: "10.0.0.0/8",
  }),
  CORS_ORIGINS: originList({
    default: undefined,
    desc: "Origins whose pages in a browser may call the gateway and read its answers, exactly as browsers write them; a comma list; empty: none but its own",
    example: "https://shop.example.com,http://localhost:5173",
  }),
  KEYS_DIR: str({
    default: undefined,
    desc: "Folder of the keys that roles prove themselves with, made by npm run keys; empty: made from TOKEN_SECRET",
    example: "/run/secrets/commerce",
  }),
  PUBLIC_URL: publicUrl({
    default: undefined,
    desc: "Where clients reach the shop, for the links in mails; empty: the gateway's port on this machine, by https where that speaks TLS",
    example: "https://shop.example.com",
  }),
  BUS_URL: busUrl({
    default: undefined,
    desc: "Where events go: postgres://…/events or amqp://…, the same for all processes; empty: the database `events` beside the others",
    example: "amqp://user:password@host:5672",
  }),
  DATA_DIR: str({ default: ".data", desc: "Folder of the embedded Postgres and of the installation's secret" }),
  LOG_LEVEL: str({
    choices: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
    default: "info",
    desc: "The least level that is logged: trace, debug, info, warn, error, fatal, silent",
  }),
  LOG_FORMAT: str({
    choices: ["pretty", "json"],
    default: undefined,
    desc: "pretty or json; empty: pretty on a terminal, json elsewhere",
  }),
  SHUTDOWN_GRACE_MS: wholeNumber(
    0,
    3_600_000,
  )({
    default: 10_000,
    desc: "Milliseconds that calls get to finish when the process is told to stop",
  }),
  DATABASE_POOL_SIZE: wholeNumber(1, 1_000)({ default: 10, desc: "Connections to each role's database" }),
  DATABASE_STATEMENT_TIMEOUT_MS: wholeNumber(
    1,
    3_600_000,
  )({
    default: 10_000,
    desc: "Milliseconds after which a statement is cancelled",
  }),
};

const secretDesc =
  "At least 32 characters, the same for every process; needed where ROLE names roles, else made in DATA_DIR";

/** The roles that the environment names; undefined for all of them. @throws ConfigError on an unknown one. */
export function namedRoles(environment: Environment, known: readonly string[]): readonly string[] | undefined {
  const names = reader(
    environment,
    [],
  )(roleSpec)
    .ROLE.split(",")
    .map((name) => name.trim().toLowerCase());
  const roles = [...new Set(names.filter((name) => name !== ""))];
  if (roles.length === 0 || (roles.length === 1 && roles[0] === "all")) return undefined;
  const unknown = roles.filter((role) => !known.includes(role));
  if (unknown.length > 0) {
    throw new ConfigError([`ROLE: there is no role ${unknown.join(", ")}; there are ${known.join(", ")}, and all`]);
  }
  return roles;
}

/**
 * The configuration that the environment gives to the named roles. Pure.
 * @param known every role of the installation by its name; those that run have their code's keys.
 * @throws ConfigError with every bad key at once.
 */
export function parseConfig(
  environment: Environment,
  known: Readonly<Record<string, ConfiguredRole>>,
  named: readonly string[] | undefined,
): Config {
  const problems: string[] = [];
  return readConfig(reader(environment, problems), problems, known, named);
}

/** The part of {@link parseConfig} that tells `read` each key it needs: that is how their documentation finds them all. */
export function readConfig(
  read: Read,
  problems: string[],
  known: Readonly<Record<string, ConfiguredRole>>,
  named: readonly string[] | undefined,
): Config {
  const roles = named ?? Object.keys(known);

  const base = read(platformSpec);
  const tls = readTls(read, problems);
  const { TOKEN_SECRET } = read({
    TOKEN_SECRET: named === undefined ? secret({ default: undefined, desc: secretDesc }) : secret({ desc: secretDesc }),
  });
  const addresses = Object.fromEntries(
    Object.entries(known).map(([role, entry]) => [role, addressOf(role, entry, !roles.includes(role), read)]),
  );
  const listen = portsToOpen(roles, known, addresses, base.PORT);
  const owners = roles.filter((role) => known[role]?.database);
  const isBusBad = problems.some((problem) => problem.startsWith("BUS_URL:"));
  const before = problems.length;
  const given = databaseUrls(owners, roles.length === 1, read);
  const isBad = problems.length > before;
  const isEmbedded = named === undefined && owners.every((role) => given[role] === undefined);
  const missing = owners.filter((owner) => given[owner] === undefined).map(databaseKey);
  const bus = base.BUS_URL ?? eventsDatabaseUrl(read);
  // What would say where the databases are says it of the bus, too.
  if (missing.length === 0 && bus === undefined && !isBusBad) missing.push("BUS_URL");
  for (const key of isEmbedded || isBad ? [] : missing) {
    problems.push(`${key}: is missing, as are DATABASE_URL and POSTGRES_HOST`);
  }
  const ofRole = Object.fromEntries(roles.map((role) => [role, read(known[role]?.config ?? {})]));

  if (problems.length > 0) throw new ConfigError([...new Set(problems)]);
  return {
    roles,
    all: named === undefined,
    dataDir: base.DATA_DIR,
    listenHost: base.LISTEN_HOST ?? (named === undefined ? "127.0.0.1" : "0.0.0.0"),
    trustedProxies: base.TRUSTED_PROXIES ?? [],
    corsOrigins: base.CORS_ORIGINS ?? [],
    tls,
    keysDir: base.KEYS_DIR,
    log: { level: base.LOG_LEVEL, format: base.LOG_FORMAT as "pretty" | "json" | undefined },
    secret: TOKEN_SECRET,
    graceMs: base.SHUTDOWN_GRACE_MS,
    pool: { size: base.DATABASE_POOL_SIZE, statementTimeoutMs: base.DATABASE_STATEMENT_TIMEOUT_MS },
    listen,
    databases: isEmbedded ? undefined : Object.fromEntries(owners.map((role) => [role, given[role] ?? ""])),
    bus,
    publicUrl: base.PUBLIC_URL,
    urls: Object.fromEntries(
      Object.entries(addresses)
        .filter(([role]) => !roles.includes(role))
        .map(([role, { url }]) => [role, url]),
    ),
    ofRole,
  };
}

interface Address {
  /** Where the role listens, if it says. */
  readonly port: number;
  readonly url: URL;
}

/**
 * `<ROLE>_PORT` and `<ROLE>_URL`, with their aliases `<ALIAS>_PORT` and `<ALIAS>_HOST`. Where a role is found is only
 * read of one that runs elsewhere.
 */
function addressOf(role: string, entry: ConfiguredRole, elsewhere: boolean, read: Read): Address {
  const name = keyPrefix(role);
  const alias = entry.alias ?? `${name}SERVICE`;
  const ports = read({
    [`${name}_PORT`]: port({
      default: undefined,
      desc: `Port of ${role}; empty: ${String(entry.port)}`,
      example: String(entry.port),
    }),
    [`${alias}_PORT`]: port({ default: undefined, desc: `Alias of ${name}_PORT, and the port of its address` }),
  }) as Readonly<Record<string, number | undefined>>;
  const listens = ports[`${name}_PORT`] ?? ports[`${alias}_PORT`] ?? entry.port;
  const found = ports[`${alias}_PORT`] ?? listens;
  const nearby = new URL(`http://127.0.0.1:${String(found)}`);
  if (!elsewhere) return { port: listens, url: nearby };
  const place = read({
    [`${name}_URL`]: httpUrl({
      default: undefined,
      desc: `Where ${role} is found when it runs elsewhere, by https where its port speaks TLS; empty: its port on this machine, by http`,
      example: `http://${role}:${String(entry.port)}`,
    }),
    [`${alias}_HOST`]: host({ default: undefined, desc: `Host of ${role} where ${name}_URL is empty`, example: role }),
  }) as Readonly<Record<string, unknown>>;
  const url = place[`${name}_URL`] as URL | undefined;
  if (url) return { port: listens, url };
  const named = place[`${alias}_HOST`] as string | undefined;
  return { port: listens, url: named === undefined ? nearby : new URL(`http://${named}:${String(found)}`) };
}

/** Each role opens its own port, unless the edge is among them: then that one is the door to all. */
function portsToOpen(
  roles: readonly string[],
  known: Readonly<Record<string, ConfiguredRole>>,
  addresses: Readonly<Record<string, Address>>,
  first: number | undefined,
): Record<string, number> {
  const edges = roles.filter((role) => known[role]?.edge);
  const doors = edges.length > 0 ? edges : roles;
  return Object.fromEntries(
    doors.map((role) => {
      const own = addresses[role]?.port ?? 0;
      return [role, doors.length === 1 ? (first ?? own) : own];
    }),
  );
}
