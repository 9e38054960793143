import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";

// The deadline goes by its bare header: the client keeps no time of its own, so the answer is the server's.

/** A table that nobody may read while the function runs. */
async function whileLocked(url: string, table: string, work: (database: Client) => Promise<void>): Promise<void> {
  const [holder, observer] = [new Client({ connectionString: url }), new Client({ connectionString: url })];
  await Promise.all([holder.connect(), observer.connect()]);
  try {
    await holder.query(`begin; lock table ${table} in access exclusive mode`);
    await work(observer);
  } finally {
    await Promise.all([holder.end(), observer.end()]);
  }
}

/** How many statements of a role wait for a lock. */
async function waiting(database: Client, role: string): Promise<number> {
  const { rows } = await database.query(
    `select 1 from pg_stat_activity where datname = current_database()
     and application_name = $1 and wait_event_type = 'Lock'`,
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
    await whileLocked(shop.databases["product"]?.url ?? "", "products", async (database) => {
      const late = refusalOf(clients.products.queryProducts({}, { headers: { "grpc-timeout": "500m" } }));
      await until(async () => (await waiting(database, "product")) === 1);
      expect(await late).toEqual({ code: "DeadlineExceeded", reason: "DEADLINE" });
      // Far sooner than the two seconds after which the wait for a lock would end by itself.
      await until(async () => (await waiting(database, "product")) === 0, 1_000);
    });
  });

  test("a deadline travels to the peers of a role", async () => {
    const { user } = await clients.users.createUser({ email: "ada@example.com" });
    await whileLocked(shop.databases["user"]?.url ?? "", "users", async (database) => {
      const request = { userId: user?.id ?? "", items: [{ sku: "MUG", quantity: 1 }] };
      const late = refusalOf(clients.orders.createOrder(request, { headers: { "grpc-timeout": "500m" } }));
      await until(async () => (await waiting(database, "user")) === 1);
      expect(await late).toEqual({ code: "DeadlineExceeded", reason: "DEADLINE" });
      await until(async () => (await waiting(database, "user")) === 0, 1_000);
    });
  });

  test("a client that goes away ends what it asked for", async () => {
    await whileLocked(shop.databases["product"]?.url ?? "", "products", async (database) => {
      const leave = new AbortController();
      const gone = clients.products.queryProducts({}, { signal: leave.signal }).catch((error: unknown) => error);
      await until(async () => (await waiting(database, "product")) === 1);
      leave.abort();
      await until(async () => (await waiting(database, "product")) === 0, 1_000);
      expect(await gone).toBeInstanceOf(Error);
    });
    const canceled = shop.processes["product"]?.logged(
      ({ role, method, code }) =>
        role === "product" && String(method).endsWith("/QueryProducts") && code === "canceled",
    );
    expect(await canceled).toMatchObject({ reason: "CANCELED" });
  });
});
