import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { OrderRefundState, OrderService, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { until } from "../support/conditions.ts";
import type { Checkout } from "../support/order.ts";
import { startCheckout, waitSettled } from "../support/order.ts";
import { lost, unreachable } from "../support/order-peers.ts";
import { present, refusal, settled } from "../support/role.ts";

let shop: Checkout;
beforeAll(async () => {
  shop = await startCheckout();
});
afterAll(() => shop[Symbol.asyncDispose]());
afterEach(() => {
  shop.model.calm();
});

/** A confirmed order of two mugs, 30.70 EUR. */
async function paid(token = "tok_approved"): Promise<string> {
  const order = await shop.place(token, waitSettled);
  expect([order.state, order.totalAmount?.amountMinor]).toEqual([OrderState.CONFIRMED, 3_070n]);
  return order.id;
}
const callsOf = (id: string, operation: string) =>
  shop.model.calls.filter((call) => call.orderId === id && call.operation === operation);

describe("RefundOrder", () => {
  test("pays an amount back, once", async () => {
    const id = await paid();
    const { order, refund } = await shop.orders.refundOrder({ id, amountMinor: 70n, reason: "A scratch" });
    expect(refund).toMatchObject({
      state: OrderRefundState.PENDING,
      amount: { amountMinor: 70n },
      reason: "A scratch",
    });
    expect(order?.refunds).toEqual([refund]);
    const after = await shop.settled(id);
    expect(after).toMatchObject({ state: OrderState.CONFIRMED, refundedAmount: { amountMinor: 70n } });
    expect(after.refunds).toMatchObject([{ state: OrderRefundState.SUCCEEDED }]);
    expect(callsOf(id, "refund").map((call) => call.id)).toEqual([refund?.id]);
    expect(callsOf(id, "return")).toEqual([]);
    const { events } = await shop.orders.listOrderEvents({ id });
    expect(events.slice(-2).map(({ message }) => message)).toEqual([
      "0.70 EUR are to be paid back: A scratch",
      "0.70 EUR are paid back.",
    ]);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("of units brings them back into stock where that is wished", async () => {
    shop.model.stock.set("MUG", 10n);
    const id = await paid();
    expect(shop.model.stock.get("MUG")).toBe(8n);
    const one = { id, lines: [{ number: 1, quantity: 1 }] };
    await shop.orders.refundOrder({ ...one, restock: true });
    await shop.orders.refundOrder(one);
    const after = await shop.settled(id);
    expect(after.refunds.map(({ amount, lines }) => [amount?.amountMinor, lines.length])).toEqual([
      [1_535n, 1],
      [1_535n, 1],
    ]);
    expect(shop.model.stock.get("MUG")).toBe(9n);
    expect(shop.model.asked(id).filter((asked) => asked === "return")).toHaveLength(1);
    expect((await refusal(shop.orders.refundOrder(one))).reason).toBe("REFUND_TOO_LARGE");
    expect((await refusal(shop.orders.fulfilOrder({ id }))).reason).toBe("WRONG_STATE");
    shop.model.stock.delete("MUG");
  });

  test("of all that is left brings all units back", async () => {
    const id = await paid();
    await shop.orders.refundOrder({ id, amountMinor: 1n });
    const { refund } = await shop.orders.refundOrder({ id, restock: true });
    expect(refund).toMatchObject({ amount: { amountMinor: 3_069n }, lines: [{ number: 1, quantity: 2 }] });
    await shop.settled(id);
    expect([shop.model.unitsOf(id), shop.model.moneyOf(id)]).toEqual([0n, 0n]);
  });

  test("of units that cost nothing only brings them back", async () => {
    const items = [
      { sku: "FREE", quantity: 1 },
      { sku: "MUG", quantity: 1 },
    ];
    const { id } = await shop.place("tok_approved", { items: items as never, ...waitSettled });
    const free = { id, lines: [{ number: 1, quantity: 1 }] };
    const { refund } = await shop.orders.refundOrder({ ...free, restock: true });
    expect(refund?.state).toBe(OrderRefundState.SUCCEEDED);
    await shop.settled(id);
    expect([callsOf(id, "refund").length, callsOf(id, "return").length]).toEqual([0, 1]);
    expect(await shop.steps(id)).toContain("STOCK_RETURNED");
  });

  test("is refused where it is over what is left, or the state does not allow it", async () => {
    const id = await paid();
    const over = await refusal(shop.orders.refundOrder({ id, amountMinor: 3_071n }));
    expect([over.kind, over.reason, over.details.metadata]).toEqual([
      "out_of_range",
      "REFUND_TOO_LARGE",
      { refundable_minor: "3070", currency_code: "EUR" },
    ]);
    const lines = [{ number: 1, quantity: 3 }];
    expect((await refusal(shop.orders.refundOrder({ id, lines }))).details.metadata).toEqual({
      line_number: "1",
      refundable_quantity: "2",
    });
    const both = await refusal(shop.orders.refundOrder({ id, lines, amountMinor: 1n }));
    expect(both.details.fields?.map(({ field }) => field)).toEqual(["amount_minor"]);
    const { id: rejected } = await shop.place("tok_declined", waitSettled);
    expect((await refusal(shop.orders.refundOrder({ id: rejected }))).reason).toBe("WRONG_STATE");
    const mine = shop.role.client(OrderService, { subject: { kind: "user", id: shop.userId, permissions: [] } });
    expect((await refusal(mine.refundOrder({ id }))).reason).toBe("ACCESS_DENIED");
    expect(shop.model.asked(id)).not.toContain("refund");
  });

  test("that the provider refuses leaves the money where it is, and may be asked for again", async () => {
    const id = await paid("tok_refund_refused");
    await shop.orders.refundOrder({ id, restock: true });
    const after = await shop.settled(id);
    expect(after.refunds).toMatchObject([{ state: OrderRefundState.FAILED, failureCode: "refused_by_bank" }]);
    expect(after.refundedAmount?.amountMinor).toBe(0n);
    expect(callsOf(id, "return")).toEqual([]);
    await shop.orders.refundOrder({ id });
    await shop.settled(id);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("keeps its id however often it is sent", async () => {
    let times = 0;
    const troubles = [lost, unreachable, lost, lost];
    shop.model.disturb((operation) =>
      operation === "refund" || operation === "return" ? troubles[times++] : undefined,
    );
    const id = await paid();
    const { refund } = await shop.orders.refundOrder({ id, lines: [{ number: 1, quantity: 1 }], restock: true });
    await shop.settled(id);
    const ids = [...callsOf(id, "refund"), ...callsOf(id, "return")].map((call) => call.id);
    expect(ids.length).toBeGreaterThan(4);
    expect(new Set(ids)).toEqual(new Set([refund?.id]));
    expect([shop.model.unitsOf(id), shop.model.moneyOf(id)]).toEqual([1n, 1_535n]);
  });

  test("whose outcome is not told is asked about until it is; an event of it wakes", async () => {
    await using patient = await startCheckout({ leastPauseMs: 3_600_000, mostPauseMs: 3_600_000 });
    const { id } = await patient.place("tok_refund_pending", waitSettled);
    await patient.orders.refundOrder({ id, amountMinor: 5n });
    await until(() => patient.model.asked(id).includes("refund"));
    await until(async () => {
      const db = patient.role.database<{ sagas: { leased_until: Date | null; finished_at: Date | null } }>();
      const held = await db.selectFrom("sagas").selectAll().where("finished_at", "is", null).executeTakeFirst();
      return held?.leased_until === null;
    });
    patient.model.settleRefunds(id, "SUCCEEDED");
    await patient.paymentEvent("refunded", id);
    expect((await patient.settled(id)).refundedAmount?.amountMinor).toBe(5n);
  });

  test("of fulfilled and delivered orders is possible, and they keep their state", async () => {
    const id = await paid();
    await shop.orders.fulfilOrder({ id });
    await shop.orders.refundOrder({ id, amountMinor: 1n });
    expect((await shop.settled(id)).state).toBe(OrderState.FULFILLED);
    await shop.orders.deliverOrder({ id });
    await shop.orders.refundOrder({ id });
    expect(await shop.settled(id)).toMatchObject({
      state: OrderState.DELIVERED,
      refundedAmount: { amountMinor: 3_070n },
    });
  });
});

describe("refunds at the same time", () => {
  test("40 of a tenth never come to more than was paid", async () => {
    const second = (await shop.role.replica()).client(OrderService);
    const id = await paid();
    const calls = Array.from({ length: 40 }, (_, n) =>
      (n % 2 ? shop.orders : second).refundOrder({ id, amountMinor: 307n }),
    );
    const { answers, reasons } = await settled(calls);
    expect(answers).toHaveLength(10);
    expect(new Set(reasons)).toEqual(new Set(["REFUND_TOO_LARGE"]));
    const after = await shop.settled(id);
    expect(after.refundedAmount?.amountMinor).toBe(3_070n);
    expect(await shop.faults(id)).toEqual([]);
    expect(callsOf(id, "refund")).toHaveLength(10);
  });

  test("20 calls with one key are one refund", async () => {
    const id = await paid();
    const request = { id, amountMinor: 100n, idempotencyKey: randomUUID() };
    const second = (await shop.role.replica()).client(OrderService);
    const calls = Array.from({ length: 20 }, (_, n) => (n % 2 ? shop.orders : second).refundOrder(request));
    const ids = (await Promise.all(calls)).map(({ refund }) => present(refund).id);
    expect(new Set(ids).size).toBe(1);
    expect((await shop.settled(id)).refunds).toHaveLength(1);
  });

  test("refunds and a cancellation leave no money and no units", async () => {
    for (let round = 0; round < 5; round += 1) {
      const id = await paid();
      await settled<unknown>([
        ...Array.from({ length: 5 }, () =>
          shop.orders.refundOrder({ id, lines: [{ number: 1, quantity: 1 }], restock: true }),
        ),
        shop.orders.cancelOrder({ id }),
        ...Array.from({ length: 5 }, () => shop.orders.refundOrder({ id, amountMinor: 99n })),
      ]);
      expect((await shop.settled(id)).state).toBe(OrderState.CANCELLED);
      expect(await shop.faults(id)).toEqual([]);
    }
  });
});

describe("FulfilOrder and DeliverOrder", () => {
  test("follow each other, once", async () => {
    const id = await paid();
    expect((await refusal(shop.orders.deliverOrder({ id }))).reason).toBe("WRONG_STATE");
    const key = randomUUID();
    const { order: fulfilled } = await shop.orders.fulfilOrder({ id, expectedVersion: 2, idempotencyKey: key });
    expect(fulfilled).toMatchObject({ state: OrderState.FULFILLED, version: 3 });
    expect((await shop.orders.fulfilOrder({ id, expectedVersion: 2, idempotencyKey: key })).order).toEqual(fulfilled);
    expect((await refusal(shop.orders.fulfilOrder({ id }))).details.metadata).toEqual({ state: "FULFILLED" });
    expect((await refusal(shop.orders.cancelOrder({ id }))).reason).toBe("WRONG_STATE");
    const stale = await refusal(shop.orders.deliverOrder({ id, expectedVersion: 2 }));
    expect(stale.details.metadata).toEqual({ current_version: "3" });
    expect((await shop.orders.deliverOrder({ id })).order?.state).toBe(OrderState.DELIVERED);
    expect((await shop.steps(id)).slice(-2)).toEqual(["FULFILLED", "DELIVERED"]);
  });
});

test("BatchGetOrders is for the payment role: those that there are, and the ids of the others", async () => {
  const payment = shop.role.client(OrderService, { role: "payment" });
  const id = await paid();
  const none = randomUUID();
  const { orders, absentIds } = await payment.batchGetOrders({ ids: [id.toUpperCase(), none, id] });
  expect([orders.map((order) => order.id), absentIds]).toEqual([[id], [none]]);
  expect((await refusal(shop.orders.batchGetOrders({ ids: [id] }))).reason).toBe("ACCESS_DENIED");
});
