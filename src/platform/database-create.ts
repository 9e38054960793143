import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { codeOf } from "./database-errors.ts";

const MAINTENANCE_DATABASES = ["postgres", "template1"];
const MAX_RETRIES = 3;

/** The database is missing. */
const MISSING = new Set(["3D000"]);

/** What makes the next maintenance database worth a try: this one is missing, or closed to this account or host. */
const NOT_THIS_ONE = new Set(["3D000", "42501", "28000"]);

/**
 * Creates the database that `url` names where it is missing; several processes may do so at once. Connects to that
 * database first, so an account that may not see another one needs no other right where it exists.
 * @throws Error that says what to do, where the account may not create it; the raw error of a failed connection.
 */
export async function ensureDatabase(url: string): Promise<void> {
  const name = databaseOf(url);
  if (await connected(url, MISSING, () => Promise.resolve())) return;
  for (const maintenance of MAINTENANCE_DATABASES) {
    if (await connected(withDatabase(url, maintenance), NOT_THIS_ONE, (client) => create(client, name, url))) return;
  }
  throw mayNotCreate(name, url);
}

/** False where connecting fails with one of `expected`, SQLSTATEs. */
async function connected(url: string, expected: ReadonlySet<string>, work: (client: Client) => Promise<void>) {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000, application_name: "commerce" });
  client.on("error", () => undefined);
  try {
    await client.connect();
  } catch (error) {
    // pg keeps the socket open where it lacks a password, which would hold the process for a minute.
    void client.end().catch(() => undefined);
    if (expected.has(codeOf(error))) return false;
    throw error;
  }
  try {
    await work(client);
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** 42P04 and 23505: another process was faster. 55006: somebody is connected to template1, which is copied. */
async function create(client: Client, name: string, url: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await client.query(`create database ${client.escapeIdentifier(name)}`);
      return;
    } catch (error) {
      const code = codeOf(error);
      if (code === "42P04" || code === "23505") return;
      if (code === "42501") throw mayNotCreate(name, url, error);
      if (code !== "55006" || attempt === MAX_RETRIES) throw error;
      await sleep(Math.random() * 200);
    }
  }
}

function mayNotCreate(name: string, url: string, cause?: unknown): Error {
  const message =
    `The database "${name}" is missing and ${accountOf(url)} may not create it. Create it as an administrator with ` +
    "that account as its owner, or let the account create databases (alter role … createdb).";
  return new Error(message, { cause });
}

/** The database that a URL names. @throws Error where it names none. */
export function databaseOf(url: string): string {
  const name = decodeURIComponent(new URL(url).pathname.slice(1));
  if (name === "") throw new Error(`The database URL of ${accountOf(url)} names no database: end it with /<database>.`);
  return name;
}

/** The same server and account, another database. */
export function withDatabase(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(name)}`;
  return other.href;
}

/** Who connects where, for messages: no password. */
function accountOf(url: string): string {
  const { username, host } = new URL(url);
  const account = username === "" ? "the account" : `the account "${decodeURIComponent(username)}"`;
  return `${account} on ${host === "" ? "the local server" : host}`;
}
