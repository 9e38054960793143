import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import { processesIn } from "../support/orphans.ts";
import { EVENTS } from "../support/installation.ts";
import { startOwnPostgres } from "../support/own-postgres.ts";
import type { LaunchedProcess } from "../support/process.ts";
import { launchProcess, startProcess } from "../support/process.ts";
import { sampleAdmin } from "../support/accounts.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { printTable, rounds } from "./report.ts";

/*
 * What a start after kill -9 does with the Postgres that was left behind, and a second start in the same folder, is
 * shown in src/platform/embedded-postgres.test.ts and tests/journeys/first-contact.test.ts; a whole shop with a given
 * database that is away, which migrates and so cannot begin, there too.
 */

const startedAt = performance.now();
const table: string[][] = [["start", "at", "ms until it ended", "next start ms"]];

afterAll(() => {
  printTable("Starts that meet a fault", startedAt, table);
});

const secret = "a secret of the tests, at least 32 characters";

describe("a listed role whose database is away when it starts", () => {
  test.each(["order", "user,product,order"])("ROLE=%s says so once, and serves when it comes", async (roles) => {
    await using postgres = await startOwnPostgres();
    await postgres.stop("fast");
    const names = roles.split(",");
    const env = Object.fromEntries(
      names.flatMap((role) => [
        [`${role.toUpperCase()}_DATABASE_URL`, postgres.databases[role]?.url ?? ""],
        [`${role.toUpperCase()}_PORT`, "0"],
      ]),
    );
    await using server = await startProcess({
      ROLE: roles,
      TOKEN_SECRET: secret,
      USER_URL: "http://127.0.0.1:1",
      PRODUCT_URL: "http://127.0.0.1:1",
      BUS_URL: postgres.databases[EVENTS]?.url ?? "",
      ...env,
    });
    const urls = names.map((role) => `http://127.0.0.1:${String(server.ports[role])}`);
    // An orchestrator asks again and again.
    for (let asked = 0; asked < 20; asked += 1) {
      for (const url of urls) {
        const ready = await fetch(`${url}/readyz`);
        expect(ready.status).toBe(503);
        expect(await ready.text()).toContain("ECONNREFUSED");
        expect((await fetch(`${url}/livez`)).status).toBe(200);
      }
    }
    const complaints = () => server.log.filter(({ level }) => level !== "info");
    expect(complaints().filter(({ msg }) => msg === "not ready")).toEqual(
      names.map((role) =>
        expect.objectContaining({
          level: "warn",
          role,
          msg: "not ready",
          check: expect.stringMatching(/^database: .*ECONNREFUSED/) as string,
        }),
      ),
    );

    await postgres.start();
    const cameAt = performance.now();
    for (const url of urls) await until(async () => (await fetch(`${url}/readyz`)).status === 200);
    table.push([`ROLE=${roles}`, "database away", "-", `ready after ${since(cameAt)}`]);
    // What works by itself in the background says so, too, and once.
    const said = complaints().map(({ role, msg }) => `${String(role)}: ${String(msg)}`);
    expect(said.filter((line, at) => said.indexOf(line) < at)).toEqual([]);
    server.kill("SIGTERM");
    expect(await server.exited).toBe(0);
  });
});

const execute = promisify(execFile);

/** Only root may. Where nobody may, nothing is shown: a limit of file sizes says something else than a full disk. */
const mayMount = await (async () => {
  await using folder = await makeFolder();
  await mkdir(folder.data);
  const refused = await mount(folder.data, "1m").then(
    () => undefined,
    (error: unknown) => String(error),
  );
  if (refused === undefined) await unmount(folder.data);
  else if (!/permi|superuser|ENOENT/i.test(refused)) throw new Error(refused);
  return refused === undefined;
})();

async function mount(path: string, size: string, ...options: readonly string[]): Promise<void> {
  await execute("mount", ["-t", "tmpfs", "-o", [`size=${size}`, "mode=0711", ...options].join(","), "tmpfs", path]);
}

async function unmount(path: string): Promise<void> {
  await execute("umount", [path]);
}

/** Where it runs out of room: at once, in initdb, in Postgres's own start, in making the databases, in migrations. */
const allSizes = ["4k", "1m", "24m", "40m", "48m", "61m"];
const sizes = rounds >= 10 ? allSizes : allSizes.filter((_, index) => index % 3 === 2);

describe.skipIf(!mayMount)("a disk that is full when the shop starts (needs the right to mount a tmpfs)", () => {
  test.each(sizes)("of %s: it says so, ends, leaves nothing running, and starts once there is room", async (size) => {
    const folder = await makeFolder();
    await mkdir(folder.data);
    await mount(folder.data, size);
    try {
      const begunAt = performance.now();
      const shop = launchProcess({ DATA_DIR: folder.data, PORT: "0" }, folder.path);
      expect(await shop.exited).toBe(1);
      const ended = since(begunAt);
      expect(performance.now() - begunAt).toBeLessThan(10_000);
      expect(shop.output()).toContain("The disk is full");
      expect(shop.output()).toContain(await realpath(folder.data));
      expect(await processesIn(await realpath(folder.data))).toEqual([]);

      await mount(folder.data, "1g", "remount");
      table.push([`disk of ${size}`, stageOf(shop), ended, await startsAgain(folder)]);
      expect(await processesIn(await realpath(folder.data))).toEqual([]);
    } finally {
      await unmount(folder.data);
      await rm(folder.path, { recursive: true });
    }
  });
});

function stageOf(shop: LaunchedProcess): string {
  return (
    shop
      .output()
      .match(/^ {2}\S.*$/gm)
      ?.at(-1)
      ?.trim() ?? ""
  );
}

function since(from: number): string {
  return (performance.now() - from).toFixed(0);
}

/** A start that goes well: it serves goods, and ends when it is told to. */
async function startsAgain(folder: Folder): Promise<string> {
  const begunAt = performance.now();
  await using shop = await startProcess({ DATA_DIR: folder.data, PORT: "0" }, folder.path);
  const ms = since(begunAt);
  const { products } = clientsOf(protocols.gRPC(`http://127.0.0.1:${String(shop.ports["gateway"])}`, sampleAdmin));
  expect((await products.queryProducts({})).products.length).toBeGreaterThan(0);
  shop.kill("SIGTERM");
  expect(await shop.exited).toBe(0);
  return ms;
}

const graceMs = 5_000;

/** How far a first start has come. */
const points: Readonly<Record<string, (shop: LaunchedProcess, folder: Folder) => boolean>> = {
  "the folder is locked": (_shop, folder) => existsSync(join(folder.data, "lock")),
  "initdb has begun": (_shop, folder) => existsSync(join(folder.data, "postgres.new", "PG_VERSION")),
  "initdb is nearly done": (_shop, folder) => existsSync(join(folder.data, "postgres.new", "base", "5")),
  "Postgres starts": (_shop, folder) => existsSync(join(folder.data, "postgres", "postmaster.pid")),
  "the first migrations are applied": (shop) => shop.output().includes("user: "),
  "the last migrations are applied": (shop) => shop.output().includes("order: "),
};

describe("a signal during the first start", () => {
  const cases = Object.keys(points).flatMap((point) => [
    [point, "SIGTERM", false] as const,
    // Ctrl-C in a terminal goes to all that the start runs, initdb too.
    [point, "SIGINT", true] as const,
  ]);
  const chosen = rounds >= 10 ? cases : cases.filter((_, index) => index % 5 === 0);

  test.each(chosen)("when %s, %s, to the whole group: %s", async (point, signal, toAll) => {
    await using folder = await makeFolder();
    const env = { DATA_DIR: folder.data, PORT: "0", SHUTDOWN_GRACE_MS: String(graceMs) };
    await using shop = launchProcess(env, folder.path, true);
    await until(() => points[point]?.(shop, folder) ?? false);
    const toldAt = performance.now();
    process.kill(toAll ? -shop.pid : shop.pid, signal);
    expect(await shop.exited).toBe(0);
    const ended = since(toldAt);
    expect(performance.now() - toldAt).toBeLessThan(graceMs);
    expect(shop.output()).not.toContain("cannot start");
    expect(shop.log.filter(({ level }) => level === "error" || level === "warn")).toEqual([]);
    expect(shop.log.at(-1)).toMatchObject({ msg: expect.stringMatching(/^stopped/) as string });
    expect(await processesIn(await realpath(folder.data))).toEqual([]);
    expect(existsSync(join(folder.data, "connection.json"))).toBe(false);
    table.push([`${signal}${toAll ? " to the group" : ""}`, point, ended, await startsAgain(folder)]);
  });
});
