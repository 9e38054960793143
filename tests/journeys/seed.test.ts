import { Client as Database } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import type { Product } from "#gen/commerce/product/v1/product_pb.ts";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import { admin, tokenOf } from "../support/accounts.ts";
import type { Ended } from "../support/commands.ts";
import { runNode } from "../support/commands.ts";
import { until } from "../support/conditions.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { freePort } from "../support/ports.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

/** A folder without a .env. */
let folder: Folder;
beforeAll(async () => {
  folder = await makeFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

function run(...args: string[]): Promise<Ended> {
  return runNode("src/commands/seed.ts", args, { cwd: folder.path });
}

/** The tests seed one shop again and again. */
describe("npm run seed", () => {
  const counts = ["--products", "200", "--users", "5", "--orders", "20"];
  let shop: Installation;
  let clients: Clients;
  beforeAll(async () => {
    shop = await startInstallation("one process");
    clients = clientsOf(protocols["Connect binary"](shop.url));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  async function seed(...args: string[]): Promise<Ended> {
    return run(...args, "--token", await tokenOf(shop.url));
  }

  interface Content {
    readonly products: readonly Product[];
    readonly users: readonly User[];
    readonly orders: readonly Order[];
  }

  async function content(): Promise<Content> {
    const products: Product[] = [];
    for await (const chunk of clients.products.listProducts({})) products.push(...chunk.products);
    const everybody = await clients.users.listUsers({ pageSize: 500 });
    const users = everybody.users.filter(({ email }) => email !== admin.email);
    let orders: readonly Order[] = [];
    await until(async () => {
      const lists = await Promise.all(users.map(({ id }) => clients.orders.listOrders({ userId: id, pageSize: 500 })));
      orders = lists.flatMap((list) => list.orders);
      return orders.every(({ state }) => state !== OrderState.PENDING);
    });
    return { products, users, orders };
  }

  test("fills a shop with the numbers it is given", async () => {
    const { code, stdout, stderr } = await seed(...counts, "--url", shop.url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^200 products .*\n5 users .*\n20 orders .*\n$/);
    expect(stdout).not.toContain("already");
    const { products, users, orders } = await content();
    expect([products.length, users.length, orders.length]).toEqual([200, 5, 20]);
    expect(products.some(({ variants }) => variants.length === 3)).toBe(true);
    expect(new Set(orders.map(({ userId }) => userId)).size).toBe(5);
    expect(orders.map(({ state }) => state)).toEqual(orders.map(() => OrderState.CONFIRMED));
  });

  test("changes nothing the second time and says what was there", async () => {
    const before = await content();
    const { code, stdout, stderr } = await seed(...counts, "--url", shop.url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^200 products .*, 200 were there already$/m);
    expect(stdout).toMatch(/^5 users .*, 5 were there already$/m);
    expect(stdout).toMatch(/^20 orders .*, 20 were there already$/m);
    expect(await content()).toEqual(before);
  });

  test("adds what is missing when the numbers grow", async () => {
    const before = await content();
    const { code, stdout, stderr } = await seed("--products", "210", "--users", "6", "--url", shop.url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^210 products .*, 200 were there already\n6 users .*, 5 were there already\n$/);
    const { products, users } = await content();
    expect([products.length, users.length]).toEqual([210, 6]);
    expect(products.map(({ id }) => id)).toEqual(expect.arrayContaining(before.products.map(({ id }) => id)));
  });

  test("keeps orders that other numbers of products made", async () => {
    const before = await content();
    const others = ["--products", "10", "--users", "5", "--orders", "20"];
    const { code, stdout, stderr } = await seed(...others, "--url", shop.url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^20 orders .*, 20 were there already$/m);
    expect(await content()).toEqual(before);
  });

  test("finds its users also when their idempotency keys are forgotten", async () => {
    const before = await content();
    const database = new Database({ connectionString: shop.databases["user"]?.url });
    await database.connect();
    const { rowCount } = await database.query("delete from idempotency_keys");
    await database.end();
    expect(rowCount).toBe(6);
    const { code, stdout, stderr } = await seed(...counts, "--url", shop.url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^5 users .*, 5 were there already\n20 orders .*, 20 were there already$/m);
    expect(await content()).toEqual(before);
  });
});

describe("npm run seed without a shop", () => {
  test("says that there is none and what to do", async () => {
    const url = `http://localhost:${String(await freePort())}`;
    const { code, stdout, stderr } = await run("--products", "200", "--url", url);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(`There is no shop at ${url}`);
    expect(stderr).toContain("Start one with npm start, or say --url.");
  });

  test("explains itself", async () => {
    const { code, stdout, stderr } = await run("--help");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const option of ["--products", "--users", "--orders", "--url"]) expect(stdout).toContain(option);
  });

  test("asks for numbers where it gets none", async () => {
    const { code, stdout, stderr } = await run();
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("npm run seed -- --products 10000");
  });

  test.each([
    ["--products", "many"],
    ["--users", "-1"],
    ["--orders", "1.5"],
    ["--url", "nonsense"],
  ])("names the option that is wrong: %s %s", async (option, value) => {
    const { code, stderr } = await run("--products", "1", option, value);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`^error: option '${option} <\\w+>' argument '${value}' is invalid\\. must be .*\n$`),
    );
  });
});
