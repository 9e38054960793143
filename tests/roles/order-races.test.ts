import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { OrderService, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import type { OrderTables } from "../../src/roles/order/schema.ts";
import { until } from "../support/conditions.ts";
import type { Checkout } from "../support/order.ts";
import { startCheckout, waitSettled } from "../support/order.ts";
import type { Operation, Trouble } from "../support/order-peers.ts";
import { lost, unreachable } from "../support/order-peers.ts";
import { refusal } from "../support/role.ts";

const times = <T>(count: number, work: (at: number) => T): T[] => Array.from({ length: count }, (_, at) => work(at));

/** Numbers from 0 to 1, the same in each run. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return ((state >>> 8) % 10_000) / 10_000;
  };
}

/** What is known of the row of a saga. */
const sagaOf = (shop: Checkout, id: string) =>
  shop.role.database<OrderTables>().selectFrom("sagas").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

/** The lease ends as if its holder had been stopped for longer. */
const endLease = (shop: Checkout, id: string) =>
  sql`update sagas set leased_until = now() - interval '1 second' where id = ${id} and finished_at is null`.execute(
    shop.role.database<OrderTables>(),
  );

/** The steps that a watcher on another instance sees, until the order is settled. */
async function watched(shop: Checkout, id: string, client: Checkout["orders"]): Promise<bigint[]> {
  const seen: bigint[] = [];
  const leave = new AbortController();
  const finished = shop.settled(id);
  try {
    // Nothing follows a confirmation, and yet the stream stays open.
    for await (const { event } of client.watchOrder({ id }, { signal: leave.signal })) {
      seen.push(event?.position ?? 0n);
      if (event?.state !== OrderState.CONFIRMED) continue;
      await finished;
      leave.abort();
    }
  } catch {
    // It was left.
  }
  return seen;
}

describe("three instances", () => {
  test("carry 60 orders out: each step is asked once, or again after an uncertain answer", async () => {
    await using shop = await startCheckout();
    const others = await Promise.all(times(2, () => shop.role.replica()));
    const clients = [shop.orders, ...others.map((other) => other.client(OrderService))];
    const roll = dice(1);
    const troubled = new Map<string, number>();
    shop.model.disturb((operation, id) => {
      if (roll() > 0.15) return undefined;
      troubled.set(`${operation} ${id}`, (troubled.get(`${operation} ${id}`) ?? 0) + 1);
      return roll() > 0.5 ? lost : unreachable;
    });
    const tokens = ["tok_approved", "tok_approved", "tok_declined", "tok_capture_refused"];
    const placed = await Promise.all(times(60, (at) => shop.place(tokens[at % tokens.length])));
    const seen = await Promise.all(placed.map(({ id }, at) => watched(shop, id, clients[at % 3] ?? shop.orders)));
    for (const [at, { id }] of placed.entries()) {
      await shop.settled(id);
      expect(await shop.faults(id)).toEqual([]);
      const asked = shop.model.asked(id);
      for (const operation of new Set(asked)) {
        const calls = asked.filter((one) => one === operation).length;
        expect([operation, calls]).toEqual([operation, 1 + (troubled.get(`${operation} ${id}`) ?? 0)]);
      }
      expect(seen[at]).toEqual(seen[at]?.map((_, position) => BigInt(position + 1)));
      expect(seen[at]?.length).toBe((await shop.steps(id)).length);
    }
    expect(troubled.size).toBeGreaterThan(10);
  });

  test("and whoever cancels: whatever happens, nothing is left", async () => {
    await using shop = await startCheckout();
    const others = await Promise.all(times(2, () => shop.role.replica()));
    const clients = [shop.orders, ...others.map((other) => other.client(OrderService))];
    const roll = dice(2);
    shop.model.stock.set("MUG", 1_000n);
    shop.model.disturb((operation, id) => {
      const cancel = async () => void (roll() < 0.15 && (await clients[Math.floor(roll() * 3)]?.cancelOrder({ id })));
      const trouble: Trouble = roll() < 0.3 ? (roll() > 0.5 ? lost : unreachable) : {};
      const isUndoing = operation === "void" || operation === "release" || operation === "refund";
      if (isUndoing) return trouble;
      return {
        async before() {
          await cancel();
          await trouble.before?.();
        },
        async after() {
          await cancel();
          await trouble.after?.();
        },
      };
    });
    const tokens = ["tok_approved", "tok_approved", "tok_declined", "tok_capture_refused"];
    const placed = await Promise.all(times(80, (at) => shop.place(tokens[at % tokens.length])));
    const someOfThem = placed.filter(() => roll() < 0.2);
    await Promise.all(someOfThem.map(({ id }, at) => (clients[at % 3] ?? shop.orders).cancelOrder({ id })));
    let units = 0n;
    const states = new Set<OrderState>();
    for (const { id } of placed) {
      const { state } = await shop.settled(id);
      states.add(state);
      expect(await shop.faults(id)).toEqual([]);
      units += shop.model.unitsOf(id);
    }
    expect(shop.model.stock.get("MUG")).toBe(1_000n - units);
    expect(states).toEqual(new Set([OrderState.CONFIRMED, OrderState.REJECTED, OrderState.CANCELLED]));
  });
});

describe("an instance that was stopped for longer than its lease", () => {
  const operations = ["reserve", "authorize", "commit", "capture"] as const;

  /** Has the first call of an operation hang after its effect; answers how to end that. */
  function hang(shop: Checkout, operation: Operation): () => void {
    const go = Promise.withResolvers<void>();
    let first = true;
    shop.model.disturb((asked) => {
      if (asked !== operation || !first) return undefined;
      first = false;
      return { after: () => go.promise };
    });
    return go.resolve;
  }

  test.each(operations)("writes nothing when it goes on: %s", async (operation) => {
    await using shop = await startCheckout();
    await shop.role.replica();
    const go = hang(shop, operation);
    const { id } = await shop.place();
    await until(() => shop.model.asked(id).includes(operation));
    await endLease(shop, id);
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    const before = [await shop.read(id), await shop.steps(id), await sagaOf(shop, id)];
    go();
    await until(() => shop.model.calls.every(({ ended }) => ended));
    // Long enough for what it would write.
    for (let other = 0; other < 3; other += 1) await shop.settled((await shop.place()).id);
    expect([await shop.read(id), await shop.steps(id), await sagaOf(shop, id)]).toEqual(before);
    expect(await shop.faults(id)).toEqual([]);
  });

  test.each(["reserve", "authorize", "commit"] as const)(
    "does not turn back what another has carried on: %s",
    async (operation) => {
      await using shop = await startCheckout();
      await shop.role.replica();
      const go = hang(shop, operation);
      const { id } = await shop.place("tok_capture_pending");
      await until(() => shop.model.asked(id).includes(operation));
      await endLease(shop, id);
      await until(() => shop.model.asked(id).includes("capture"));
      const before = [await shop.read(id), await shop.steps(id)];
      go();
      await until(() => shop.model.calls.every(({ ended }) => ended));
      for (let other = 0; other < 3; other += 1) await shop.settled((await shop.place()).id);
      expect([await shop.read(id), await shop.steps(id), (await sagaOf(shop, id)).step]).toEqual([
        ...before,
        "CAPTURE",
      ]);
      shop.model.settle(id, "CAPTURED");
      expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
      expect(await shop.faults(id)).toEqual([]);
    },
  );

  test.each(operations)("does not undo what another decided meanwhile, which cancels: %s", async (operation) => {
    await using shop = await startCheckout();
    await shop.role.replica();
    const go = hang(shop, operation);
    const { id } = await shop.place();
    await until(() => shop.model.asked(id).includes(operation));
    await shop.orders.cancelOrder({ id });
    await endLease(shop, id);
    expect((await shop.settled(id)).state).toBe(OrderState.CANCELLED);
    const before = [await shop.read(id), await shop.steps(id)];
    go();
    await until(() => shop.model.calls.every(({ ended }) => ended));
    for (let other = 0; other < 3; other += 1) await shop.settled((await shop.place()).id);
    expect([await shop.read(id), await shop.steps(id)]).toEqual(before);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("waits for no peer beyond its lease", async () => {
    await using shop = await startCheckout({ leaseMs: 500, callMs: 60_000 });
    const go = hang(shop, "authorize");
    const waited: boolean[] = [];
    shop.model.disturb((operation) => {
      const [first, second] = shop.model.calls.filter((call) => call.operation === "authorize");
      if (operation === "authorize" && first && second) waited.push(!first.signal.aborted);
      return undefined;
    });
    const { id } = await shop.place();
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(waited).toEqual([false]);
    go();
  });
});

test("an instance that stops hands on what it has at once", async () => {
  await using shop = await startCheckout({ leaseMs: 3_600_000, callMs: 3_600_000 });
  const other = await shop.role.replica();
  const never = new Promise<void>(() => undefined);
  const hanging = new Set<string>();
  shop.model.disturb((operation, id) => {
    if (operation !== "commit" || hanging.has(id)) return undefined;
    hanging.add(id);
    return { after: () => never };
  });
  const placed = await Promise.all(times(10, () => shop.place()));
  await until(() => hanging.size === 10);
  await Promise.all([other.running.close?.(), shop.role.running.close?.()]);
  await shop.role.replica();
  for (const { id } of placed) {
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(await shop.faults(id)).toEqual([]);
  }
});

test("a saga of a version that this build does not know is left alone", async () => {
  await using shop = await startCheckout({}, { ORDER_OVERLOAD_SECONDS: 0.1 });
  shop.model.down.add("reserve");
  const { id } = await shop.place();
  await until(() => shop.model.asked(id).length > 0);
  const db = shop.role.database<OrderTables>();
  await until(async () => {
    // While nobody holds it.
    const changed = db.updateTable("sagas").set({ version: 2 }).where("id", "=", id).where("leased_until", "is", null);
    return (await changed.executeTakeFirst()).numUpdatedRows > 0n;
  });
  shop.model.calm();
  const { attempts } = await sagaOf(shop, id);
  for (let other = 0; other < 5; other += 1) await shop.settled((await shop.place()).id);
  await shop.orders.cancelOrder({ id });
  expect(await sagaOf(shop, id)).toMatchObject({ attempts, finished_at: null, version: 2 });
  expect((await shop.read(id)).state).toBe(OrderState.PENDING);
});

describe("overload", () => {
  test("where orders wait too long no more are taken; what has a key is answered all the same", async () => {
    await using shop = await startCheckout({ concurrent: 0 }, { ORDER_OVERLOAD_SECONDS: 0.3 });
    const idempotencyKey = randomUUID();
    const first = await shop.place("tok_approved", { idempotencyKey });
    await until(async () => (await refusedWith(shop)) === "OVERLOADED");
    const refused = await refusal(shop.place());
    expect([refused.kind, (refused.details.retryAfterMs ?? 0) > 0]).toEqual(["unavailable", true]);
    expect(await shop.place("tok_approved", { idempotencyKey })).toEqual(first);
    expect((await shop.read(first.id)).state).toBe(OrderState.PENDING);
    const { results } = await shop.orders.batchCreateOrders({
      orders: [{ userId: shop.userId, items: [{ sku: "MUG", quantity: 1 }] }],
    });
    expect(results.map(({ result }) => result.case)).toEqual(["error"]);
  });

  test("orders that wait for somebody else do not count", async () => {
    await using shop = await startCheckout(
      { askAgainMs: 3_600_000, mostPauseMs: 3_600_000 },
      { ORDER_OVERLOAD_SECONDS: 0.1 },
    );
    const waiting = [await shop.place("tok_requires_action"), await shop.place("tok_pending")];
    await until(async () => {
      const rows = await Promise.all(waiting.map(({ id }) => sagaOf(shop, id)));
      return rows.every(({ step, leased_until: lease }) => step === "AUTHORIZE" && lease === null);
    });
    const until300 = performance.now() + 300;
    while (performance.now() < until300) await shop.settled((await shop.place()).id);
    expect(await refusedWith(shop)).toBeUndefined();
  });

  async function refusedWith(shop: Checkout): Promise<string | undefined> {
    return shop.place().then(
      () => undefined,
      async (error: unknown) => (await refusal(Promise.reject(error as Error))).reason,
    );
  }
});

test("who waits until it is settled gets it as it stands when the time is nearly over", async () => {
  await using shop = await startCheckout();
  shop.model.down.add("reserve");
  const items = [{ sku: "MUG", quantity: 1 }];
  const { order } = await shop.orders.createOrder({ userId: shop.userId, items, ...waitSettled }, { timeoutMs: 800 });
  expect(order?.state).toBe(OrderState.PENDING);
});

test("what one instance leaves another finds by itself, and a cancellation elsewhere is heard", async () => {
  await using shop = await startCheckout({ mostPauseMs: 3_600_000, leastPauseMs: 3_600_000 });
  const other = (await shop.role.replica()).client(OrderService);
  shop.model.down.add("reserve");
  const { id } = await shop.place();
  await until(() => shop.model.asked(id).length > 0);
  await until(async () => (await sagaOf(shop, id)).leased_until === null);
  expect((await other.cancelOrder({ id, ...waitSettled })).order?.state).toBe(OrderState.CANCELLED);
});
