import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { until } from "../../support/conditions.ts";
import { markedFailpoints } from "../../support/failpoints.ts";
import { startOwnPostgres } from "../../support/own-postgres.ts";
import { printTable, rounds, tally } from "../report.ts";
import type { Buyers } from "./buyers.ts";
import { createBuyers } from "./buyers.ts";
import type { FaultShop } from "./shop.ts";
import { startFaultShop } from "./shop.ts";

const startedAt = performance.now();
const table: string[][] = [["what", "runs", "orders ended"]];
afterAll(() => {
  printTable("Races with the saga", startedAt, table);
});

const ended = (order: { state: OrderState; reason: string }) =>
  `${Object.entries(OrderState).find(([, value]) => value === order.state)?.[0] ?? ""} ${order.reason}`.trim();

describe("one shop, two processes of order", () => {
  let shop: FaultShop;
  let buyers: Buyers;
  beforeAll(async () => {
    shop = await startFaultShop({ replicas: ["order"], env: { ORDER_HOLD_SECONDS: "4" } });
    buyers = createBuyers(shop.clients);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

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
      const order = await buyers.settled(first.id);
      ends.push(ended(order));
      expect(order.state, point).toBe(OrderState.CANCELLED);
      expect((await shop.clients.inventory.batchGetStock({ skus: [sku] })).stock[0]).toMatchObject({
        onHand: 1n,
        reserved: 0n,
      });
    }
    table.push(["CancelOrder at each point", String(chosen.length), tally(ends)]);
    expect((await shop.rest()).broken).toEqual([]);
  });

  test.each(["order.authorize.begun", "order.authorize.answered", "order.capture.begun", "order.capture.answered"])(
    "SIGSTOP of the saga's owner at %s past its lease: the other goes on, and what it does when it wakes has no effect",
    async (point) => {
      const sku = await shop.addGoods(5);
      await shop.failpoints.arm(point, "stop");
      const { first } = await buyers.buy({ items: [{ sku, quantity: 1 }] });
      const pid = await shop.failpoints.reached(point);
      try {
        await until(async () => (await shop.storedState(first.id)) === "CONFIRMED", 40_000);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      const { first: next } = await buyers.buy({ items: [{ sku, quantity: 1 }] });
      expect((await buyers.settled(next.id)).state).toBe(OrderState.CONFIRMED);
      expect((await shop.rest()).broken).toEqual([]);
      table.push([`SIGSTOP at ${point}`, "1", ended(await buyers.get(first.id))]);
    },
  );

  test("a provider that hangs past the end of the hold: the stock is taken anew, or somebody else has it", async () => {
    const [alone, wanted] = [await shop.addGoods(1), await shop.addGoods(1)];
    const token = "tok_timeout_after_charge";
    const { first: lucky } = await buyers.buy({ items: [{ sku: alone, quantity: 1 }], token });
    const { first: late } = await buyers.buy({ items: [{ sku: wanted, quantity: 1 }], token });
    await until(async () => {
      const { stock } = await shop.clients.inventory.batchGetStock({ skus: [wanted] });
      return stock[0]?.available === 1n;
    }, 20_000);
    const { first: other } = await buyers.buy({ items: [{ sku: wanted, quantity: 1 }] });
    const ends = await Promise.all([lucky, late, other].map(({ id }) => buyers.settled(id)));
    expect((await shop.rest()).broken).toEqual([]);
    const sold = ends.slice(1).filter(({ state }) => state === OrderState.CONFIRMED);
    expect(ends[0]?.state).toBe(OrderState.CONFIRMED);
    expect(sold).toHaveLength(1);
    table.push(["a provider past the hold", "3", tally(ends.map(ended))]);
  });

  test.each(["inventory.reserve.begun", "payment.authorize.begun"])(
    "a call that stands at %s until its order is cancelled is refused when it goes on",
    async (point) => {
      const sku = await shop.addGoods(1);
      await shop.failpoints.arm(point, "wait");
      const { first } = await buyers.buy({ items: [{ sku, quantity: 1 }] });
      await shop.failpoints.reached(point);
      await buyers.cancel(first.id);
      expect((await buyers.settled(first.id)).state).toBe(OrderState.CANCELLED);
      await shop.failpoints.release(point);
      const isKept = async () => {
        const { stock } = await shop.clients.inventory.batchGetStock({ skus: [sku] });
        const { payment } = await shop.clients.payments
          .getPayment({ orderId: first.id })
          .catch(() => ({ payment: undefined }));
        return stock[0]?.reserved !== 0n || payment?.state === PaymentState.AUTHORIZED;
      };
      const isEverKept = await until(isKept, 1_500).then(
        () => true,
        () => false,
      );
      expect(isEverKept).toBe(false);
      expect((await shop.rest()).broken).toEqual([]);
      table.push([`late at ${point}`, "1", ended(await buyers.get(first.id))]);
    },
  );

  test("every buyer has what they were told", async () => {
    expect(await buyers.lies()).toEqual([]);
  });
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
    expect(broken).toEqual([]);
  }
  const ends = await Promise.all(buyers.purchases.map(({ first }) => buyers.settled(first.id)));
  table.push([
    `kill -9 of Postgres; at rest again after ${restMs.map((ms) => (ms / 1_000).toFixed(1)).join(", ")} s`,
    String(kills),
    tally(ends.map(ended)),
  ]);
  expect(await buyers.lies()).toEqual([]);
});
