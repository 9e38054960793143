import { spawn } from "node:child_process";
import { once } from "node:events";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Client } from "pg";
import { describe, expect, test } from "vitest";
import type { CreateOrdersRequestSchema } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { until } from "../support/conditions.ts";
import type { Installation, Topology } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

const graceMs = 8_000;

/** Each process that can be told to stop while calls go through it. */
const cases: readonly (readonly [Topology, "gateway" | "order"])[] = [
  ["one process", "gateway"],
  ["a process per role", "gateway"],
  ["a process per role", "order"],
];

describe.each(cases)("SIGTERM in %s, of %s", (topology, stopped) => {
  test("calls of each kind that are in flight finish, and the process exits 0 within its grace time", async () => {
    await using shop = await startInstallation(topology, { SHUTDOWN_GRACE_MS: String(graceMs) });
    const server = shop.processes[stopped];
    if (!server) throw new Error("no such process");
    const clients = clientsOf(protocols.gRPC(shop.url));
    const { user } = await clients.users.createUser({ email: "ada@example.com" });
    const userId = user?.id ?? "";
    await clients.products.addProduct({
      title: "Mug",
      variants: [{ sku: "MUG", price: { currencyCode: "EUR", amountMinor: 1290n } }],
    });
    await clients.inventory.adjustStock({ sku: "MUG", delta: 10n });
    const items = [{ sku: "MUG", quantity: 1 }];
    // Both wait for their buyer.
    const open = { userId, items, paymentMethodToken: "tok_requires_action", waitFor: WaitFor.SETTLED };
    const { order } = await clients.orders.createOrder(open);
    const { order: watched } = await clients.orders.createOrder(open);
    const id = order?.id ?? "";

    // A unary call that waits for a lock.
    await using lock = await lockOrder(shop, id);
    const cancelling = clients.orders.cancelOrder({ id });
    await until(() => lock.isWaitedFor());

    // A stream in both directions, half done.
    const more = Promise.withResolvers<undefined>();
    async function* requests(): AsyncIterable<MessageInitShape<typeof CreateOrdersRequestSchema>> {
      yield { sequence: 1, order: { userId, items, idempotencyKey: "s1" } };
      await more.promise;
      yield { sequence: 2, order: { userId, items, idempotencyKey: "s2" } };
    }
    const results = clients.orders.createOrders(requests())[Symbol.asyncIterator]();
    expect((await results.next()).value.result.case).toBe("order");

    // A watch, which would never end by itself.
    const watch = clients.orders.watchOrder({ id: watched?.id ?? "" })[Symbol.asyncIterator]();
    for (const state of [OrderState.PENDING, OrderState.PENDING, OrderState.AWAITING_PAYMENT]) {
      expect((await watch.next()).value.event.state).toBe(state);
    }

    const startedAt = performance.now();
    server.kill("SIGTERM");
    await server.logged(({ msg }) => msg === "stopping");
    if (stopped === "gateway") await until(() => isNotReady(shop.url));

    await lock.release();
    expect((await cancelling).order).toMatchObject({ id, cancelRequested: true });
    more.resolve(undefined);
    expect((await results.next()).value.result.case).toBe("order");
    expect((await results.next()).done).toBe(true);
    // It is told to come back, and resumes elsewhere.
    await expect(watch.next()).rejects.toThrow(/unavailable/);

    expect(await server.exited).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(graceMs);
    expect(server.log.filter(({ level }) => level === "error")).toEqual([]);
  });
});

test("a client that stalls does not hold the process beyond its grace time", async () => {
  await using shop = await startInstallation("one process", { SHUTDOWN_GRACE_MS: "1500" });
  const server = shop.processes["gateway"];
  if (!server) throw new Error("no such process");
  const clients = clientsOf(protocols.gRPC(shop.url));
  const { user } = await clients.users.createUser({ email: "ada@example.com" });
  const never = Promise.withResolvers<undefined>();
  async function* requests(): AsyncIterable<MessageInitShape<typeof CreateOrdersRequestSchema>> {
    yield { sequence: 1, order: { userId: user?.id ?? "", items: [], idempotencyKey: "s1" } };
    await never.promise;
  }
  const results = clients.orders.createOrders(requests())[Symbol.asyncIterator]();
  expect((await results.next()).value.result.case).toBe("error");
  const rest = results.next();
  server.kill("SIGTERM");
  await expect(rest).rejects.toThrow(/unavailable/);
  expect(await server.exited).toBe(0);
});

test("a second signal ends the process at once", async () => {
  await using shop = await startInstallation("one process", { SHUTDOWN_GRACE_MS: "60000" });
  const server = shop.processes["gateway"];
  if (!server) throw new Error("no such process");
  const clients = clientsOf(protocols.gRPC(shop.url));
  const never = Promise.withResolvers<undefined>();
  async function* requests(): AsyncIterable<MessageInitShape<typeof CreateOrdersRequestSchema>> {
    yield { sequence: 1, order: { items: [], idempotencyKey: "s1" } };
    await never.promise;
  }
  const results = clients.orders.createOrders(requests())[Symbol.asyncIterator]();
  await results.next();
  const rest = results.next().catch((error: unknown) => error);
  server.kill("SIGTERM");
  await server.logged(({ msg }) => msg === "stopping");
  // Within half a second a second signal would count as an echo of the first: keep asking until it counts.
  let ended = false;
  void server.exited.then(() => {
    ended = true;
  });
  await until(() => {
    server.kill("SIGTERM");
    return ended;
  });
  expect(await server.exited).toBe(130);
  expect(await rest).toBeInstanceOf(Error);
});

async function isNotReady(url: string): Promise<boolean> {
  // Draining closes its door to new connections; one that still gets in is told so.
  return fetch(`${url}/readyz`).then(
    ({ status }) => status === 503,
    () => true,
  );
}

/** Holds the lock of an order's row, as a slow neighbour would. */
async function lockOrder(shop: Installation, id: string) {
  const connectionString = shop.databases["order"]?.url ?? "";
  const [holder, observer] = [new Client({ connectionString }), new Client({ connectionString })];
  await Promise.all([holder.connect(), observer.connect()]);
  await holder.query("begin");
  await holder.query("select 1 from orders where id = $1 for update", [id]);
  return {
    async isWaitedFor(): Promise<boolean> {
      const { rows } = await observer.query(
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return rows.length > 0;
    },
    release: () => holder.query("commit"),
    async [Symbol.asyncDispose]() {
      await Promise.all([holder.end(), observer.end()]);
    },
  };
}

test("a server whose log nobody reads any more still stops", async () => {
  const role = { ROLE: "gateway", TOKEN_SECRET: "x".repeat(32), DATABASE_URL: "postgres://127.0.0.1:9" };
  const env = { ...process.env, ...role, PORT: "0", LOG_FORMAT: "json" };
  const child = spawn(process.execPath, ["src/main.ts"], { env, stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(child, "close");
  await once(child.stdout, "data");
  child.stdout.destroy();
  child.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});
