import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import { UserRole } from "#gen/commerce/user/v1/user_pb.ts";
import { registry } from "../../src/roles/registry.ts";
import type { RunOptions } from "../support/commands.ts";
import { outputOf, run, runNode } from "../support/commands.ts";
import { sampleAdmin } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import { freePort, takePort } from "../support/ports.ts";
import type { ServerProcess } from "../support/process.ts";
import { startProcess } from "../support/process.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

/** A start that is expected to fail. */
function start(options: RunOptions) {
  return runNode("src/main.ts", [], options);
}

/** The tests go from the first start of a shop to its third, as a person's first day does. */
describe("a shop of one's own", () => {
  let folder: Folder;
  let shop: ServerProcess;
  beforeAll(async () => {
    folder = await makeFolder();
    shop = await startAgain();
    await until(() => shop.output().includes("Ctrl-C"));
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  function startAgain(): Promise<ServerProcess> {
    return startProcess({ DATA_DIR: folder.data, PORT: "0" }, folder.path);
  }

  function clients(): Clients {
    return clientsOf(protocols.gRPC(`http://localhost:${String(shop.ports["gateway"])}`, sampleAdmin));
  }

  async function titles(): Promise<string[]> {
    const { products } = await clients().products.queryProducts({ pageSize: 500 });
    return products.map(({ title }) => title);
  }

  /** Units on hand by SKU, of the whole catalogue. */
  async function stock(): Promise<Record<string, bigint>> {
    const { products } = await clients().products.queryProducts({ pageSize: 500 });
    const skus = products.flatMap(({ variants }) => variants.map(({ sku }) => sku));
    const { stock: items, absentSkus } = await clients().inventory.batchGetStock({ skus });
    expect(absentSkus).toEqual([]);
    return Object.fromEntries(items.map(({ sku, onHand }) => [sku, onHand]));
  }

  test("has goods", async () => {
    const { products } = await clients().products.queryProducts({ text: "mug" });
    expect(products.length).toBeGreaterThan(0);
    for (const { variants } of products) expect(variants[0]?.price?.currencyCode).toBe("EUR");
    expect((await titles()).length).toBeGreaterThan(products.length);
    expect(new Set(Object.values(await stock()))).toEqual(new Set([100n]));
  });

  test("says where it is, where its data is, and what is unusual", async () => {
    const url = `http://localhost:${String(shop.ports["gateway"])}`;
    expect(shop.output()).toContain(`connect-commerce runs at ${url}\n`);
    const health = /\S+\/readyz/.exec(shop.output())?.[0] ?? "";
    expect(health).toBe(`${url}/readyz`);
    expect(await (await fetch(health)).json()).toMatchObject({ status: "ready" });
    expect(existsSync(join(dataPath(), "PG_VERSION"))).toBe(true);
    expect(shop.output()).toContain(`admin@example.com and shopper@example.com, password ${sampleAdmin.password}`);
  });

  function dataPath(): string {
    return /data in (.+)/.exec(shop.output())?.[1] ?? "";
  }

  test("prints calls that work when they are pasted", async () => {
    const printed = shop.output().matchAll(/^ {2}((?:shopper=.*\n {2})?(?:npx buf )?curl (?:.*\\\n)*.*)/gm);
    const calls = [...printed].map(([, call]) => call ?? "");
    const answers: unknown[] = [];
    for (const call of calls) {
      answers.push(JSON.parse(outputOf(await run("bash", ["-c", call]))));
    }
    expect(answers).toMatchObject([
      { products: [{ title: expect.stringMatching(/mug/i) as string }] },
      { order: { state: "ORDER_STATE_CONFIRMED", lines: [{ sku: "MUG-SAND" }], totalAmount: { amountMinor: "1654" } } },
      { products: (await titles()).map(() => ({ state: "PRODUCT_STATE_ACTIVE" })) },
    ]);
    // The order went its way: one less in stock, the money in the books, and mails in the mailbox.
    const { "MUG-SAND": sand, ...others } = await stock();
    expect([sand, new Set(Object.values(others))]).toEqual([99n, new Set([100n])]);
    const { balances } = await clients().payments.getLedgerBalances({});
    expect(balances.map(({ account, amount }) => [account, amount?.amountMinor])).toEqual([
      ["provider:sandbox", 1_654n],
      ["sales", -1_654n],
    ]);
    const mailbox = /Mails: (\S+)/.exec(shop.output())?.[1] ?? "";
    const subjects = async () => (await fetch(mailbox)).text();
    await until(async () => (await subjects()).includes("is confirmed"));
    expect(await subjects()).toMatch(/is confirmed.*shopper@example\.com.*We have your order/s);
  });

  test("gives an access token on the line, to its admin and to its shopper", async () => {
    const url = `http://localhost:${String(shop.ports["gateway"])}`;
    for (const [account, roles] of [
      ["admin", [UserRole.ADMIN]],
      ["shopper", []],
    ] as const) {
      const token = outputOf(await runNode("src/commands/token.ts", [account, "--url", url]));
      expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
      const headers = { authorization: `Bearer ${token.trim()}` };
      const { user } = await clientsOf(protocols.gRPC(url, "nobody")).users.getProfile({}, { headers });
      expect(user).toMatchObject({ email: `${account}@example.com`, roles });
    }
    const byPassword = await runNode("src/commands/token.ts", ["shopper@example.com", "--url", url], {
      input: "connect-commerce\n",
    });
    expect(outputOf(byPassword)).toMatch(/^\S+\n$/);
    const wrong = await runNode("src/commands/token.ts", ["shopper@example.com", "--url", url], { input: "wrong\n" });
    expect(wrong).toEqual({ code: 1, stdout: "", stderr: "Email and password do not belong together.\n" });
    const nowhere = await runNode("src/commands/token.ts", ["admin", "--url", "http://127.0.0.1:1"]);
    expect(nowhere).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("no shop") as string });
  });

  test("lets nobody log in through a proxy: everybody knows its passwords", async () => {
    const login = async (headers: Readonly<Record<string, string>>) => {
      const url = `http://localhost:${String(shop.ports["gateway"])}/commerce.user.v1.AuthService/Login`;
      const request = { method: "POST", body: JSON.stringify(sampleAdmin) };
      return (await fetch(url, { ...request, headers: { "content-type": "application/json", ...headers } })).status;
    };
    expect(await login({})).toBe(200);
    expect(await login({ "x-forwarded-for": "203.0.113.9" })).toBe(403);
  });

  test("makes an admin of an account, in its database", async () => {
    const account = { email: "Grace@example.com", password: "another password" };
    const url = `http://localhost:${String(shop.ports["gateway"])}`;
    await clients().users.createUser(account);
    const grant = (...args: string[]) =>
      runNode("src/commands/grant.ts", args, { env: { DATA_DIR: folder.data }, cwd: folder.path });
    expect(outputOf(await grant("grace@example.com", "support"))).toBe("grace@example.com is now support.\n");
    expect(outputOf(await grant("grace@example.com", "admin"))).toBe("grace@example.com is now admin and support.\n");
    const { permissions } = await clientsOf(protocols.gRPC(url, account)).users.getProfile({});
    expect(permissions).toContain("user.grant");
    expect(await grant("nobody@example.com", "admin")).toEqual({
      code: 1,
      stdout: "",
      stderr: "There is no active account nobody@example.com; CreateUser makes one.\n",
    });
    expect(await grant("grace@example.com", "king")).toMatchObject({ code: 1, stdout: "" });
  });

  test("prints a way to more goods that works when it is pasted", async () => {
    const seed = /npm run seed -- .*?(?= {2})/.exec(shop.output())?.[0] ?? "";
    expect(outputOf(await run("bash", ["-c", seed.replace("10000", "3")]))).toContain("3 products");
    const { product } = await clients().products.getProduct({ sku: "SEED-0000001" });
    expect(product?.description).toContain("seeded");
  });

  test("is told apart from a second one in its folder, which ends and says what to do", async () => {
    const second = await start({ env: { DATA_DIR: folder.data, PORT: "0" }, cwd: folder.path });
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`process ${String(shop.pid)} is already running on ${await realpath(folder.data)}`);
    expect(second.stderr).toContain("stop it, or choose another DATA_DIR");
    // The first is as it was, for callers and for the tools.
    expect((await titles()).length).toBeGreaterThan(0);
    expect(existsSync(join(folder.data, "connection.json"))).toBe(true);
  });

  test("has after kill -9 and another start all that was acknowledged, and its goods only once", async () => {
    const before = [await titles(), await stock()];
    const acknowledged: User[] = [];
    const { users } = clients();
    const write = async () => {
      for (;;) {
        const { user } = await users.createUser({ email: `${randomUUID()}@example.com` });
        if (user) acknowledged.push(user);
        // Amid the calls of the other writers.
        if (acknowledged.length === 50) shop.kill("SIGKILL");
      }
    };
    const writers = await Promise.allSettled(Array.from({ length: 8 }, write));
    expect(writers.map(({ status }) => status)).not.toContain("fulfilled");
    expect(await shop.exited).toBe("SIGKILL");

    shop = await startAgain();
    expect(acknowledged.length).toBeGreaterThanOrEqual(50);
    const read = await Promise.all(acknowledged.map(({ id }) => clients().users.getUser({ id })));
    expect(read.map(({ user }) => user)).toEqual(acknowledged);
    expect([await titles(), await stock()]).toEqual(before);
  });

  test("leaves nothing running when it is told to stop, and starts again with what it had", async () => {
    const before = await titles();
    await until(() => dataPath() !== "");
    const postmaster = join(dataPath(), "postmaster.pid");
    expect(existsSync(postmaster)).toBe(true);
    shop.kill("SIGTERM");
    expect(await shop.exited).toBe(0);
    expect(existsSync(postmaster)).toBe(false);
    expect(existsSync(join(folder.data, "connection.json"))).toBe(false);
    shop = await startAgain();
    expect(await titles()).toEqual(before);
  });
});

describe("a start that cannot be", () => {
  let folder: Folder;
  beforeAll(async () => {
    folder = await makeFolder();
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  function startWith(env: Readonly<Record<string, string>>) {
    return start({ env: { DATA_DIR: folder.data, ...env }, cwd: folder.path });
  }

  const bad = {
    PORT: "http",
    LOG_LEVEL: "loud",
    LOG_FORMAT: "xml",
    SHUTDOWN_GRACE_MS: "-1",
    DATABASE_POOL_SIZE: "0",
    TOKEN_SECRET: "short",
    USER_PORT: "99999",
    APIGATEWAY_PORT: "x",
    ORDER_DATABASE_URL: "mysql://localhost/orders",
    DATABASE_URL: "localhost",
    POSTGRES_PORT: "none",
    TAX_TABLE: "nineteen percent",
  };

  test("lists every bad key at once, and no other", async () => {
    const { code, stderr } = await startWith(bad);
    expect(code).toBe(1);
    const listed = [...stderr.matchAll(/^ {2}([A-Z_]+): \S/gm)].map(([, key]) => key);
    expect(listed).toHaveLength(Object.keys(bad).length);
    expect(listed).toEqual(expect.arrayContaining(Object.keys(bad)));
    expect(stderr).toContain(".env.example");
  });

  test("reads the configuration before it listens or makes a folder", async () => {
    await using taken = await takePort();
    const { code, stdout, stderr } = await startWith({ PORT: String(taken.port), LOG_LEVEL: "loud" });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("LOG_LEVEL");
    expect(stderr).not.toContain("taken");
    expect(existsSync(folder.data)).toBe(false);
  });

  test("names what a role in a container lacks", async () => {
    const { code, stderr } = await startWith({ ROLE: "user" });
    expect(code).toBe(1);
    expect([...stderr.matchAll(/^ {2}([A-Z_]+): is missing/gm)].map(([, key]) => key)).toEqual([
      "TOKEN_SECRET",
      "USER_DATABASE_URL",
    ]);
  });

  test("lists the roles where ROLE names none", async () => {
    const { code, stderr } = await startWith({ ROLE: "user,shop" });
    expect(code).toBe(1);
    expect(stderr).toContain(`there is no role shop; there are ${Object.keys(registry).join(", ")}, and all`);
  });

  function withPassword(password: string): string {
    const url = new URL(inject("postgresUrl"));
    url.password = password;
    return url.href;
  }

  /** Addresses at which no database serves us. */
  const unreachable = {
    "a port where nobody listens": async () => `postgres://postgres@127.0.0.1:${String(await freePort())}`,
    "a name with several addresses": async () => `postgres://postgres@localhost:${String(await freePort())}/shop`,
    "an unknown host": () => "postgres://postgres@database.invalid/shop",
    "a wrong password": () => withPassword("wrong"),
    "no password": () => withPassword(""),
  };

  test.each(Object.entries(unreachable))("says that the database cannot be reached: %s", async (_name, address) => {
    const { code, stderr } = await startWith({ DATABASE_URL: await address(), PORT: "0" });
    expect(code).toBe(1);
    expect(stderr).toMatch(/The database cannot be reached: \S/);
    expect(stderr).toContain("Is Postgres running there, and are DATABASE_URL or POSTGRES_* right?");
    expect(stderr).toContain("Without them npm start brings its own.");
    expect(existsSync(folder.data)).toBe(false);
  });

  test("says that the database cannot be reached: something else listens there", async () => {
    await using taken = await takePort();
    const { code, stderr } = await startWith({ DATABASE_URL: `postgres://x@127.0.0.1:${String(taken.port)}/shop` });
    expect(code).toBe(1);
    expect(stderr).toMatch(/The database cannot be reached: \S/);
  });

  test("names the port that is taken, and ends the Postgres that it had begun", async () => {
    await using taken = await takePort();
    const { code, stdout, stderr } = await startWith({ PORT: String(taken.port) });
    expect(code).toBe(1);
    expect(stderr).toContain(`Port ${String(taken.port)} is taken by another program`);
    expect(stderr).toMatch(/PORT=\d+ npm start/);
    expect(stdout).not.toContain("connect-commerce runs");
    expect(existsSync(join(folder.data, "postgres", "PG_VERSION"))).toBe(true);
    expect(existsSync(join(folder.data, "postgres", "postmaster.pid"))).toBe(false);
  });
});

test("npm start -- --help shows the environment and starts nothing", async () => {
  await using folder = await makeFolder();
  const help = outputOf(await run("npm", ["start", "--", "--help"], { env: { DATA_DIR: folder.data } }));
  expect(help).toContain("Environment");
  for (const key of ["ROLE", "PORT", "DATA_DIR", "DATABASE_URL", "<ROLE>_URL", "TOKEN_SECRET", ".env.example"]) {
    expect(help).toContain(key);
  }
  for (const role of Object.keys(registry)) expect(help).toContain(role);
  expect(existsSync(folder.data)).toBe(false);
});
