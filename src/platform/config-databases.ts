import { host, postgresUrl, str, wholeNumber } from "./config-validators.ts";
import type { Read } from "./config-validators.ts";
import { databaseName } from "./database-name.ts";

/**
 * Where the databases of roles are: `<ROLE>_DATABASE_URL` first; then, for a single role, DATABASE_URL or POSTGRES_*
 * name its database; for several they name the server, and each uses `<role>db` there. Undefined where nothing says.
 */
export function databaseUrls(
  owners: readonly string[],
  single: boolean,
  read: Read,
): Readonly<Record<string, string | undefined>> {
  const keys = owners.map((role) => {
    const example = `postgres://user:password@host:5432/${databaseName(role)}`;
    const desc = `The database of ${role}, before all of the others`;
    return [databaseKey(role), postgresUrl({ default: undefined, desc, example })] as const;
  });
  const own = read(Object.fromEntries(keys)) as Readonly<Record<string, string | undefined>>;
  const shared = sharedServer(read);
  return Object.fromEntries(
    owners.map((role) => [role, own[databaseKey(role)] ?? (shared && databaseAt(shared, role, single))]),
  );
}

/** The key that names one role's database. */
export function databaseKey(role: string): string {
  return `${keyPrefix(role)}_DATABASE_URL`;
}

/** What the keys of one role begin with. */
export function keyPrefix(role: string): string {
  return role.toUpperCase().replaceAll("-", "_");
}

/** The database of the bus on the server that DATABASE_URL or POSTGRES_* name; undefined where they name none. */
export function eventsDatabaseUrl(read: Read): string | undefined {
  const shared = sharedServer(read);
  return shared && databaseAt(shared, "events", false);
}

/** The server that DATABASE_URL or else POSTGRES_* name; any of these is enough, the rest is Postgres's usual. */
function sharedServer(read: Read): string | undefined {
  const given = read({
    DATABASE_URL: postgresUrl({
      default: undefined,
      desc: "For one role its database; for several the server, on which each uses `<role>db`",
      example: "postgres://user:password@host:5432",
    }),
    POSTGRES_HOST: host({
      default: undefined,
      desc: "The server where DATABASE_URL is empty; any POSTGRES_ key is enough. Empty: localhost",
    }),
    POSTGRES_PORT: wholeNumber(1, 65_535)({ default: undefined, desc: "Its port; empty: 5432" }),
    POSTGRES_DATABASE: str({ default: undefined, desc: "The database of the only role; empty: `<role>db`" }),
    POSTGRES_USER: str({ default: undefined, desc: "The account; empty: postgres" }),
    POSTGRES_PASSWORD: str({ default: undefined, desc: "Its password" }),
  });
  if (given.DATABASE_URL !== undefined) return given.DATABASE_URL;
  const parts = [given.POSTGRES_HOST, given.POSTGRES_PORT, given.POSTGRES_DATABASE, given.POSTGRES_USER];
  if (parts.every((part) => part === undefined) && given.POSTGRES_PASSWORD === undefined) return undefined;
  const url = new URL(`postgres://${given.POSTGRES_HOST ?? "localhost"}:${String(given.POSTGRES_PORT ?? 5432)}`);
  url.username = encodeURIComponent(given.POSTGRES_USER ?? "postgres");
  url.password = encodeURIComponent(given.POSTGRES_PASSWORD ?? "");
  if (given.POSTGRES_DATABASE !== undefined) url.pathname = `/${encodeURIComponent(given.POSTGRES_DATABASE)}`;
  return url.href;
}

/** The role's database on a server: the one that the address names if that may be it, else `<role>db`. */
function databaseAt(server: string, role: string, mayBeNamed: boolean): string {
  const url = new URL(server);
  if (!mayBeNamed || url.pathname.length <= 1) url.pathname = `/${databaseName(role)}`;
  return url.href;
}
