import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";

/** Seconds that reading a slow table takes: longer than any wait here, shorter than the statement timeout. */
const SLOW_S = 9;

/** Makes reading a table slow while the function runs. */
async function whileSlow(url: string, table: string, work: (database: Client) => Promise<void>): Promise<void> {
  const database = new Client({ connectionString: url });
  await database.connect();
  try {
    await database.query(`alter table ${table} rename to ${table}_kept`);
    await database.query(
      `create view ${table} as select * from ${table}_kept where (select pg_sleep(${String(SLOW_S)})) is not null`,
    );
    await work(database);
  } finally {
    await database.query(`drop view ${table}; alter table ${table}_kept rename to ${table}`);
    await database.end();
  }
}

/** How many statements of a role are being slow. */
async function sleeping(database: Client, role: string): Promise<number> {
  const { rows } = await database.query(
    `select 1 from pg_stat_activity where datname = current_database()
     and application_name = $1 and wait_event = 'PgSleep'`,
    [`commerce-${role}`],
  );
  return rows.length;
}

describe.each(topologies)("deadlines and cancellation in %s", (topology) => {
  let shop: Installation;
  let clients: Clients;
  beforeAll(async () => {
    shop = await startInstallation(topology);
    clients = clientsOf(protocols.gRPC(shop.url));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test("a call that is too late is answered so at once, and its query ends", async () => {
    await whileSlow(shop.databases["product"]?.url ?? "", "products", async (database) => {
      // By its bare header: the client keeps no time of its own, so the answer is the server's.
      const late = refusalOf(clients.products.queryProducts({}, { headers: { "grpc-timeout": "2000m" } }));
      await until(async () => (await sleeping(database, "product")) === 1);
      expect(await late).toEqual({ code: "DeadlineExceeded", reason: "DEADLINE" });
      // Far sooner than it would end by itself.
      await until(async () => (await sleeping(database, "product")) === 0, 3_000);
    });
  });

  test("a deadline travels to the peers of a role", async () => {
    const { user } = await clients.users.createUser({ email: "ada@example.com" });
    await whileSlow(shop.databases["user"]?.url ?? "", "users", async (database) => {
      const request = { userId: user?.id ?? "", items: [{ sku: "MUG", quantity: 1 }] };
      const late = refusalOf(clients.orders.createOrder(request, { headers: { "grpc-timeout": "2000m" } }));
      await until(async () => (await sleeping(database, "user")) === 1);
      expect(await late).toEqual({ code: "DeadlineExceeded", reason: "DEADLINE" });
      await until(async () => (await sleeping(database, "user")) === 0, 3_000);
    });
  });

  test("a client that goes away ends what it asked for", async () => {
    await whileSlow(shop.databases["product"]?.url ?? "", "products", async (database) => {
      const leave = new AbortController();
      const gone = clients.products.queryProducts({}, { signal: leave.signal }).catch((error: unknown) => error);
      await until(async () => (await sleeping(database, "product")) === 1);
      leave.abort();
      await until(async () => (await sleeping(database, "product")) === 0, 3_000);
      expect(await gone).toBeInstanceOf(Error);
    });
    const canceled = shop.processes["product"]?.logged(
      ({ role, method, code }) =>
        role === "product" && String(method).endsWith("/QueryProducts") && code === "canceled",
    );
    expect(await canceled).toMatchObject({ reason: "CANCELED" });
  });
});
