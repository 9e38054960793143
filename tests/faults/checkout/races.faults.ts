import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderState, OrderStep } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { until } from "../../support/conditions.ts";
import { markedFailpoints } from "../../support/failpoints.ts";
import { startOwnPostgres } from "../../support/own-postgres.ts";
import { printTable, rounds, tally } from "../report.ts";
import type { Buyers } from "./buyers.ts";
import { createBuyers, endOf } from "./buyers.ts";
import type { FaultShop } from "./shop.ts";
import { startFaultShop } from "./shop.ts";

const startedAt = performance.now();
const table: string[][] = [["what", "runs", "orders ended"]];
afterAll(() => {
  printTable("Races with the saga", startedAt, table);
});

/** Whether a request to cancel that comes while the saga stands at a point comes after the decision to capture. */
const isPastPivot = (point: string) =>
  point.startsWith("order.capture.") || point === "order.commit.written" || point === "order.commit.noted";

/** Whether something that must not happen does, in a while. */
const comesToHold = (condition: () => Promise<boolean>, withinMs: number) =>
  until(condition, withinMs).then(
    () => true,
    () => false,
  );

/** The history of an order with which all goes well. */
const { PLACED, STOCK_RESERVED, PAYMENT_AUTHORIZED, STOCK_COMMITTED, CONFIRMED } = OrderStep;
const wholeWay = [PLACED, STOCK_RESERVED, PAYMENT_AUTHORIZED, STOCK_COMMITTED, CONFIRMED];

describe("one shop, two processes of order", () => {
  let shop: FaultShop;
  let buyers: Buyers;
  beforeAll(async () => {
    shop = await startFaultShop({ replicas: ["order"] });
    buyers = createBuyers(shop.clients);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  /** Undefined where nothing was ever asked of the provider. */
  const paymentOf = (orderId: string) =>
    shop.clients.payments.getPayment({ orderId }).then(
      ({ payment }) => payment,
      () => undefined,
    );

  const steps = ["reserve", "authorize", "commit", "capture"];
  const points = (markedFailpoints().get("order") ?? []).filter((point) => steps.includes(point.split(".")[1] ?? ""));
  const chosen = rounds >= 20 ? points : points.filter((_, index) => index % 4 === 0);

  test("CancelOrder while the saga stands at each point of its way", async () => {
    const ends: string[] = [];
    for (const point of chosen) {
      const sku = await shop.addGoods(1);
      await shop.failpoints.arm(point, "wait");
      const { first } = await buyers.buy({ items: [{ sku, quantity: 1 }] });
      await shop.failpoints.reached(point);
      let isAnswered = false;
      const cancel = buyers.cancel(first.id).finally(() => (isAnswered = true));
      // In its transaction the saga holds the order's row: the cancel waits then.
      await until(async () => isAnswered || (await shop.waitsForLock("order")));
      await shop.failpoints.release(point);
      expect(await cancel).toBe(true);
      const order = await buyers.settled(first.id, 30_000);
      ends.push(endOf(order));
      expect(endOf(order), `the order that was cancelled at ${point}`).toBe("CANCELLED CANCEL_REQUESTED");
      const taken = (await paymentOf(first.id))?.capturedAmount?.amountMinor ?? 0n;
      expect(isPastPivot(point) || taken === 0n, `money was taken of what was cancelled at ${point}`).toBe(true);
      const miscounted = await buyers.miscounted(sku, 1);
      expect(miscounted, [point, ...miscounted].join("\n")).toEqual([]);
    }
    table.push(["CancelOrder at each point", String(chosen.length), tally(ends)]);
    const { broken } = await shop.rest();
    expect(broken, broken.join("\n")).toEqual([]);
  });

  test("everybody wants the last units: they are sold once, and nobody gets a part", async () => {
    const ends: string[] = [];
    for (let round = 0; round < Math.max(1, rounds / 10); round += 1) {
      const sku = await shop.addGoods(5);
      const storm = Array.from({ length: 12 }, () => buyers.buy({ items: [{ sku, quantity: 2 }] }));
      const orders = await Promise.all(storm.map(async (bought) => buyers.settled((await bought).first.id)));
      ends.push(...orders.map(endOf));
      const { broken } = await shop.rest();
      const found = broken.length > 0 ? broken : await buyers.miscounted(sku, 5);
      expect(found, found.join("\n")).toEqual([]);
      expect(orders.filter(({ state }) => state === OrderState.CONFIRMED)).toHaveLength(2);
    }
    table.push(["the last units", String(ends.length), tally(ends)]);
  });

  test.each([
    ["order.authorize.begun", "order.commit.answered"],
    ["order.authorize.answered", "order.capture.begun"],
    ["order.capture.begun", "order.capture.answered"],
    ["order.capture.answered", "order.capture.begun"],
  ])(
    "SIGSTOP of the saga's owner at %s past its lease: the other goes on, and what it does when it wakes has no effect",
    async (point, reachedByOther) => {
      const sku = await shop.addGoods(5);
      await shop.failpoints.arm(point, "stop");
      const { first } = await buyers.buy({ items: [{ sku, quantity: 1 }] });
      const pid = await shop.failpoints.reached(point);
      try {
        await shop.failpoints.arm(reachedByOther, "wait");
        await shop.failpoints.reached(reachedByOther, 40_000);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      // The other stands still: whatever happens now is done by the one that woke.
      const isConfirmed = async () => (await shop.storedState(first.id)) === "CONFIRMED";
      const isUsurped = await comesToHold(isConfirmed, 1_500);
      await shop.failpoints.release(reachedByOther);
      expect(isUsurped, "an order is carried on by one who has lost its lease").toBe(false);
      await until(isConfirmed, 30_000);
      const { events } = await shop.clients.orders.listOrderEvents({ id: first.id });
      expect(events.map(({ step }) => step)).toEqual(wholeWay);
      const { first: next } = await buyers.buy({ items: [{ sku, quantity: 1 }] });
      expect((await buyers.settled(next.id)).state).toBe(OrderState.CONFIRMED);
      const { broken } = await shop.rest();
      expect(broken, broken.join("\n")).toEqual([]);
      table.push([`SIGSTOP at ${point}`, "1", endOf(await buyers.get(first.id))]);
    },
  );

  test.each(["inventory.reserve.begun", "payment.authorize.begun", "payment.authorize.answered"])(
    "a call that stands at %s until its order is cancelled is refused when it goes on",
    async (point) => {
      const sku = await shop.addGoods(1);
      await shop.failpoints.arm(point, "wait");
      // Nothing but the call itself tells how it ended, until somebody looks it up.
      const token = "tok_webhook_never";
      const { first } = await buyers.buy({ items: [{ sku, quantity: 1 }], token });
      await shop.failpoints.reached(point);
      await buyers.cancel(first.id);
      expect((await buyers.settled(first.id)).state).toBe(OrderState.CANCELLED);
      await shop.failpoints.release(point);
      const isKept = async () => {
        const { stock } = await shop.clients.inventory.batchGetStock({ skus: [sku] });
        return stock[0]?.reserved !== 0n || (await paymentOf(first.id))?.state === PaymentState.AUTHORIZED;
      };
      expect(await comesToHold(isKept, 1_500), `what comes late at ${point} is kept`).toBe(false);
      const { broken } = await shop.rest();
      expect(broken, broken.join("\n")).toEqual([]);
      table.push([`late at ${point}`, "1", endOf(await buyers.get(first.id))]);
    },
  );

  test("every buyer has what they were told", async () => {
    const lies = await buyers.lies();
    expect(lies, lies.join("\n")).toEqual([]);
  });
});

test("a provider that hangs past the end of the hold: the stock is taken anew, or somebody else has it", async () => {
  await using shop = await startFaultShop({ env: { ORDER_HOLD_SECONDS: "2", ORDER_PAYMENT_SECONDS: "1" } });
  const buyers = createBuyers(shop.clients);
  const [alone, wanted] = [await shop.addGoods(1), await shop.addGoods(1)];
  const comesToBe = (available: bigint) =>
    until(async () => {
      const { stock } = await shop.clients.inventory.batchGetStock({ skus: [wanted] });
      return stock[0]?.available === available;
    }, 20_000);
  // Three seconds until it charges: nobody tells of it earlier.
  const token = "tok_slow";
  const { first: lucky } = await buyers.buy({ items: [{ sku: alone, quantity: 1 }], token });
  const { first: late } = await buyers.buy({ items: [{ sku: wanted, quantity: 1 }], token });
  await comesToBe(0n);
  await comesToBe(1n);
  const { first: other } = await buyers.buy({ items: [{ sku: wanted, quantity: 1 }] });
  const ends = await Promise.all([lucky, late, other].map(({ id }) => buyers.settled(id, 30_000)));
  const { broken } = await shop.rest();
  expect(broken, broken.join("\n")).toEqual([]);
  expect(ends[0]?.state).toBe(OrderState.CONFIRMED);
  expect(ends.slice(1).filter(({ state }) => state === OrderState.CONFIRMED)).toHaveLength(1);
  table.push(["a provider past the hold", "3", tally(ends.map(endOf))]);
});

test("kill -9 of Postgres in a storm of checkouts", async () => {
  await using postgres = await startOwnPostgres();
  await using shop = await startFaultShop({ databases: postgres.databases });
  const buyers = createBuyers(shop.clients);
  const kills = Math.max(1, Math.ceil(rounds / 7));
  const tokens = ["tok_approved", "tok_declined", "tok_capture_refused", "tok_error_after_charge"];
  const sku = await shop.addGoods(kills * 30);
  const restMs: number[] = [];
  for (let kill = 0; kill < kills; kill += 1) {
    const storm = Array.from({ length: 60 }, (_, buyer) =>
      buyers.buy({ items: [{ sku, quantity: 1 }], token: tokens[buyer % 5] ?? "tok_approved" }),
    );
    await Promise.race(storm);
    const cancels = (await Promise.race(storm)).first.id;
    await postgres.kill();
    await postgres.start();
    const healed = performance.now();
    await Promise.all([...storm, buyers.cancel(cancels)]);
    const { broken } = await shop.rest();
    restMs.push(performance.now() - healed);
    const found = broken.length > 0 ? broken : await buyers.miscounted(sku, kills * 30);
    expect(found, found.join("\n")).toEqual([]);
  }
  const ends = await Promise.all(buyers.purchases.map(({ first }) => buyers.settled(first.id)));
  table.push([
    `kill -9 of Postgres; at rest again after ${restMs.map((ms) => (ms / 1_000).toFixed(1)).join(", ")} s`,
    String(kills),
    tally(ends.map(endOf)),
  ]);
  const lies = await buyers.lies();
  expect(lies, lies.join("\n")).toEqual([]);
});
