import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Client } from "pg";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { snippetsOf } from "../../scripts/docs/snippets.ts";
import { startEmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";
import { freePort } from "../support/ports.ts";
import type { Copy } from "./copy.ts";
import { copyRepository } from "./copy.ts";

/** What docs/adding-a-role.md says to type, in its order. */
const snippets = snippetsOf("docs/adding-a-role.md").map(({ code }) => code);
const [add = "", check = "", call = "", remove = "", ...others] = snippets;

let copy: Copy;

beforeAll(async () => {
  copy = await copyRepository();
  await git("init", "--quiet");
  await git("add", "--all", "--", ".", ":!node_modules");
  await git("-c", "user.name=a test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message", "before");
});
afterAll(() => copy[Symbol.asyncDispose]());

async function git(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await copy.run("git", ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** What git sees that was not there before, all files of new folders too. */
async function changes(): Promise<string[]> {
  const lines = (await git("status", "--porcelain", "--untracked-files=all")).split("\n");
  return lines.map((line) => line.slice(3)).filter((file) => file !== "" && file !== "node_modules");
}

/** Runs a snippet. @throws where it fails */
async function type(code: string): Promise<string> {
  const ended = await copy.run("bash", "-c", `set -euo pipefail\n${code}`);
  if (ended.code !== 0) throw new Error(`${code}\nended with ${String(ended.code)}:\n${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}

/** Starts the shop of the copy as `npm start` does, on a port and a Postgres of its own. */
async function startShop(): Promise<{ readonly port: number; readonly dataDir: string } & AsyncDisposable> {
  const port = await freePort();
  const dataDir = join(copy.path, ".data");
  const env = { ...copy.env, PORT: String(port), DATA_DIR: dataDir, LOG_FORMAT: "json" };
  const stdio = ["ignore", "pipe", "pipe"] as const;
  const child = spawn("node", ["src/main.ts"], { cwd: copy.path, env, stdio: [...stdio] });
  const closed = once(child, "close");
  let output = "";
  child.stderr.on("data", (text: Buffer) => (output += text.toString()));
  const lines = createInterface({ input: child.stdout });
  await new Promise<void>((resolve, reject) => {
    lines.on("line", (line) => {
      output += `${line}\n`;
      if (line.includes('"msg":"listening"')) resolve();
    });
    lines.on("close", () => {
      reject(new Error(`the shop ended:\n${output}`));
    });
  });
  return {
    port,
    dataDir,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await closed;
    },
  };
}

test("the page has the four commands that are run here", () => {
  expect(others).toEqual([]);
  expect(add).toBe("npm run role:new -- wishlist");
  expect(check).toContain("npm run check");
  expect(call).toContain("curl ");
  expect(remove).toBe("npm run role:new -- --remove wishlist");
});

test("role:new writes a role, with all its traces and nothing else", async () => {
  expect(await changes()).toEqual([]);
  expect(await type(add)).toContain("The role wishlist is there, on port ");
  const files = await changes();
  const own = files.filter((file) => file.includes("wishlist"));
  expect(own.length).toBeGreaterThan(8);
  const shared = [
    ".env.example",
    "README.md",
    "clients/ts/src/gen/reasons.ts",
    "docs/architecture.md",
    "docs/configuration.md",
    "docs/data-model.md",
    "docs/errors.md",
    "docs/openapi.json",
    "docs/security.md",
    "src/roles/registry.ts",
    "src/roles/user/permission.ts",
    "tests/journeys/access-matrix.ts",
  ];
  expect(files.filter((file) => !own.includes(file)).sort()).toEqual(shared);
});

test("all checks are green with it, and so is its test", { timeout: 300_000 }, async () => {
  const printed = await type(check);
  expect(printed).not.toContain("FAILED");
  expect(printed).toMatch(/Tests {2}\d+ passed/);
  process.stdout.write(`with the new role: ${String(printed.match(/^ok {2}/gm)?.length)} checks are green\n`);
});

test("the shop serves it through the gateway, from a database of its own", async () => {
  {
    await using shop = await startShop();
    const { port, dataDir } = shop;
    const created = JSON.parse(await type(call.replaceAll("localhost:8080", `localhost:${String(port)}`))) as {
      readonly wishlist: { readonly id: string; readonly name: string };
    };
    expect(created.wishlist.name).toBe("Birthday");
    const file = await readFile(join(dataDir, "connection.json"), "utf8");
    const { databases } = JSON.parse(file) as { readonly databases: Readonly<Record<string, string>> };
    const client = new Client({ connectionString: databases["wishlistdb"] });
    await client.connect();
    try {
      const { rows } = await client.query("select id, name from wishlists");
      expect(rows).toEqual([created.wishlist].map(({ id, name }) => ({ id, name })));
    } finally {
      await client.end();
    }
  }
  // The data may be outside of the folder, where the account of Postgres can reach it.
  const log = pino({ level: "silent" });
  const dataDir = join(copy.path, ".data");
  const left = await startEmbeddedPostgres({ dataDir, databases: [], log, fsync: false });
  await left.stop();
  await copy.run("rm", "-rf", left.dataPath);
});

test("role:new refuses what is there, and --remove what is not", async () => {
  const again = await copy.run("node", "scripts/new-role.ts", "wishlist");
  expect(again).toMatchObject({ code: 2, stderr: "There is a role wishlist already.\n" });
  const absent = await copy.run("node", "scripts/new-role.ts", "--remove", "basket");
  expect(absent).toMatchObject({ code: 2, stderr: "There is no role basket.\n" });
  const door = await copy.run("node", "scripts/new-role.ts", "--remove", "gateway");
  expect(door).toMatchObject({ code: 2, stderr: "gateway is the door to the others; it stays.\n" });
});

test("removed again, no trace of it is left", async () => {
  expect(await type(remove)).toContain("The role wishlist is gone:");
  expect(await changes()).toEqual([]);
  for (const folder of ["proto/commerce", "gen/commerce", "migrations", "src/roles"]) {
    expect(existsSync(join(copy.path, folder, "wishlist"))).toBe(false);
  }
});
