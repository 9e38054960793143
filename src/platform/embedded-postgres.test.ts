import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { appendFile, chmod, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "pg";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AlreadyRunning, readConnectionFile, startEmbeddedPostgres } from "./embedded-postgres.ts";
import type { EmbeddedPostgres } from "./embedded-postgres.ts";
import { decideFolder } from "./embedded/place.ts";

const HOLDER = fileURLToPath(new URL("../../tests/support/programs/hold-postgres.ts", import.meta.url));
const silent = pino({ level: "silent" });

let dataDir: string;
let postgres: EmbeddedPostgres | undefined;
let holder: ChildProcess | undefined;

const start = (databases: readonly string[] = ["shop"], fsync = false) =>
  startEmbeddedPostgres({ dataDir, databases, log: silent, fsync });

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Another node process that holds the folder; answers the URL of its database. */
async function startHolder(): Promise<string> {
  holder = fork(HOLDER, [dataDir], { execArgv: [], stdio: "inherit" });
  const [url] = (await once(holder, "message")) as [string];
  return url;
}

async function killHolder(): Promise<void> {
  const exit = once(holder as ChildProcess, "exit");
  holder?.kill("SIGKILL");
  await exit;
  holder = undefined;
}

describe("startEmbeddedPostgres", () => {
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "connect-commerce-embedded-"));
    await chmod(dataDir, 0o711);
  });

  afterEach(async () => {
    if (holder) await killHolder();
    // What a test left running is found and ended by the next start.
    postgres ??= await start().catch(() => undefined);
    await postgres?.stop();
    if (postgres) await rm(postgres.dataPath, { recursive: true, force: true });
    postgres = undefined;
    await rm(dataDir, { recursive: true, force: true });
  });

  test("serves the databases on loopback, tells the tools, and keeps the data for the next start", async () => {
    postgres = await start(["shop", "other"]);
    const url = postgres.urlOf("shop");
    expect(new URL(url).hostname).toBe("127.0.0.1");
    await query(url, "create table notes (text text); insert into notes values ('Zoë')");
    const [settings] = await query(
      url,
      `select current_setting('server_encoding') as encoding, current_setting('listen_addresses') as addresses,
        current_setting('unix_socket_directories') as sockets, current_setting('max_connections') as connections,
        upper('é') as upper`,
    );
    expect(settings).toEqual({ encoding: "UTF8", addresses: "127.0.0.1", sockets: "", connections: "200", upper: "É" });
    expect(await readConnectionFile(dataDir)).toEqual({
      pid: process.pid,
      databases: { shop: url, other: postgres.urlOf("other") },
    });
    expect((await stat(join(dataDir, "connection.json"))).mode & 0o777).toBe(0o600);
    await Promise.all([postgres.stop(), postgres.stop()]);
    expect(await readConnectionFile(dataDir)).toBeUndefined();
    await expect(query(url, "select 1")).rejects.toThrow(/ECONNREFUSED|terminat/);

    postgres = await start();
    expect(await query(postgres.urlOf("shop"), "select text from notes")).toEqual([{ text: "Zoë" }]);
  });

  test("wants the password", async () => {
    postgres = await start();
    const url = new URL(postgres.urlOf("shop"));
    url.password = "guess";
    await expect(query(url.href, "select 1")).rejects.toMatchObject({ code: "28P01" });
  });

  test("refuses a second start, by this process or another, and leaves the first alone", async () => {
    const url = await startHolder();
    const second: unknown = await start().catch((error: unknown) => error);
    expect(second).toBeInstanceOf(AlreadyRunning);
    expect(second).toMatchObject({ pid: holder?.pid, connectionFile: join(dataDir, "connection.json") });
    expect(await query(url, "select 1 as one")).toEqual([{ one: 1 }]);
    await killHolder();
    postgres = await start();
    await expect(start()).rejects.toMatchObject({ name: "AlreadyRunning", pid: process.pid });
  });

  test("after kill -9 of its process the next start ends the orphan and has its data", async () => {
    const url = await startHolder();
    await query(url, "create table notes (text text); insert into notes values ('kept')");
    await killHolder();
    expect(await query(url, "select text from notes")).toEqual([{ text: "kept" }]);
    postgres = await start();
    expect(await query(postgres.urlOf("shop"), "select text from notes")).toEqual([{ text: "kept" }]);
    await expect(query(url, "select 1")).rejects.toThrow(/ECONNREFUSED|terminat/);
  });

  test("recovers after kill -9 of Postgres itself", async () => {
    postgres = await start(["shop"], true);
    await query(postgres.urlOf("shop"), "create table notes (text text); insert into notes values ('kept')");
    process.kill(Number((await readFile(join(postgres.dataPath, "postmaster.pid"), "utf8")).split("\n")[0]), "SIGKILL");
    await postgres.stop();
    postgres = await start();
    expect(await query(postgres.urlOf("shop"), "select text from notes")).toEqual([{ text: "kept" }]);
  });

  test("a stale postmaster.pid that names a living stranger neither stops the start nor the stranger", async () => {
    postgres = await start();
    const { dataPath } = postgres;
    await postgres.stop();
    const stranger = fork(HOLDER, ["--version"], { execArgv: ["-e", "setInterval(() => {}, 1000)"], stdio: "ignore" });
    await once(stranger, "spawn");
    await writeFile(join(dataPath, "postmaster.pid"), `${stranger.pid}\n${dataPath}\n1700000000\n5432\n\n127.0.0.1\n`);
    await chmod(join(dataPath, "postmaster.pid"), 0o666);
    postgres = await start();
    expect(await query(postgres.urlOf("shop"), "select 1 as one")).toEqual([{ one: 1 }]);
    expect([stranger.exitCode, stranger.signalCode]).toEqual([null, null]);
    stranger.kill("SIGKILL");
  });

  test("names the version that made the data where it cannot read it, and touches nothing", async () => {
    postgres = await start();
    const { dataPath } = postgres;
    await postgres.stop();
    await writeFile(join(dataPath, "PG_VERSION"), "9\n");
    await expect(start()).rejects.toThrow(/made by Postgres 9, and this is Postgres 18/);
    await writeFile(join(dataPath, "PG_VERSION"), "18\n");
    postgres = await start();
  });

  test("shows the end of Postgres's log where it does not start, and can be tried again", async () => {
    postgres = await start();
    const { dataPath } = postgres;
    await postgres.stop();
    const file = join(dataPath, "postgresql.conf");
    const good = await readFile(file);
    await appendFile(file, "shared_buffers = 'a lot'\n");
    await expect(start()).rejects.toThrow(/did not start[\s\S]*shared_buffers/);
    await writeFile(file, good);
    postgres = await start();
  });

  test("what a crash during the preparation left is thrown away", async () => {
    postgres = await start();
    const { dataPath } = postgres;
    await postgres.stop();
    await rename(dataPath, `${dataPath}.new`);
    postgres = await start();
    expect(existsSync(`${dataPath}.new`)).toBe(false);
    expect((await readdir(dataDir)).filter((name) => name.includes("password"))).toEqual([]);
  });
});

describe("decideFolder", () => {
  const nobody = { uid: 65534, gid: 65534 };
  const around = (reachable: readonly string[], used: readonly string[] = []) => ({
    bases: ["/var/lib/shop", "/tmp/shop"],
    reaches: (path: string) => reachable.some((prefix) => path.startsWith(prefix)),
    holdsData: (path: string) => used.some((prefix) => path.startsWith(prefix)),
  });

  test("an ordinary user's data is below DATA_DIR", () => {
    expect(decideFolder("/home/ann/shop/.data", undefined, around([]))).toBe("/home/ann/shop/.data");
  });

  test("root's too, where the other account gets there; else below the first base that works, by the folder", () => {
    expect(decideFolder("/srv/.data", nobody, around(["/srv", "/var"]))).toBe("/srv/.data");
    const moved = decideFolder("/root/shop/.data", nobody, around(["/var", "/tmp"]));
    expect(moved).toMatch(/^\/var\/lib\/shop\/[0-9a-f]{16}$/);
    expect(decideFolder("/root/shop/.data", nobody, around(["/var"]))).toBe(moved);
    expect(decideFolder("/root/other/.data", nobody, around(["/var"]))).not.toBe(moved);
    expect(decideFolder("/root/shop/.data", nobody, around(["/tmp"]))).toMatch(/^\/tmp\/shop\//);
  });

  test("data stays where it was made, and is never passed over for a new place", () => {
    expect(decideFolder("/srv/.data", nobody, around(["/srv", "/tmp"], ["/tmp"]))).toMatch(/^\/tmp\/shop\//);
    expect(() => decideFolder("/srv/.data", nobody, around(["/var", "/tmp"], ["/srv"]))).toThrow(
      /reach \/srv\/.data: /,
    );
    expect(() => decideFolder("/root/.data", nobody, around([]))).toThrow(/ordinary user, or give DATABASE_URL/);
  });
});
