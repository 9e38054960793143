import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { until } from "../support/conditions.ts";
import type { Checkout } from "../support/order.ts";
import { nameOf, startCheckout, waitSettled } from "../support/order.ts";
import type { Operation, Trouble } from "../support/order-peers.ts";
import { lost, unreachable } from "../support/order-peers.ts";
import { eventsOf } from "../support/outbox.ts";
import { refusal, replayNote } from "../support/role.ts";

let shop: Checkout;
beforeAll(async () => {
  shop = await startCheckout();
});
afterAll(() => shop[Symbol.asyncDispose]());
afterEach(() => {
  shop.model.calm();
});

const stateOf = async (id: string) => nameOf(OrderState, (await shop.settled(id)).state);
const typesOf = async (id: string) =>
  (await eventsOf(shop.role.database<never>(), OrderEventSchema, id)).map(({ type }) => type);

/** Has the order cancelled during the first call of an operation, in which something else may go wrong, too. */
function cancelAt(operation: Operation, moment: "before" | "after", trouble: Trouble = {}): void {
  const cancelled = new Set<string>();
  shop.model.disturb((asked, id) => {
    if (asked !== operation || cancelled.has(id)) return undefined;
    cancelled.add(id);
    const cancel = async () => {
      await shop.orders.cancelOrder({ id });
    };
    return {
      async before() {
        if (moment === "before") await cancel();
        await trouble.before?.();
      },
      async after() {
        if (moment === "after") await cancel();
        await trouble.after?.();
      },
    };
  });
}

const forward = ["reserve", "authorize", "commit", "capture"] as const;
const moments = ["before", "after"] as const;
const everyMoment = forward.flatMap((operation) => moments.map((moment) => [operation, moment] as const));

describe("a request to cancel", () => {
  test.each(everyMoment)("during %s, %s its effect, leaves nothing", async (operation, moment) => {
    cancelAt(operation, moment);
    const { id } = await shop.place();
    expect(await stateOf(id)).toBe("CANCELLED");
    expect(await shop.faults(id)).toEqual([]);
    const isPaid = operation === "capture";
    expect(shop.model.asked(id).includes("capture")).toBe(isPaid);
    expect(await typesOf(id)).toEqual(["order.placed", ...(isPaid ? ["order.confirmed"] : []), "order.cancelled"]);
    const steps = await shop.steps(id);
    expect(steps.filter((step) => step === "CANCEL_REQUESTED")).toHaveLength(1);
    expect(steps.at(-1)).toBe("CANCELLED");
  });

  test.each(everyMoment)(
    "during %s, %s its effect, whose answer is lost, leaves nothing",
    async (operation, moment) => {
      cancelAt(operation, moment, lost);
      const { id } = await shop.place();
      expect(await stateOf(id)).toBe("CANCELLED");
      expect(await shop.faults(id)).toEqual([]);
    },
  );

  test.each(forward)("during %s, which does not arrive, leaves nothing", async (operation) => {
    cancelAt(operation, "before", unreachable);
    const { id } = await shop.place();
    expect(await stateOf(id)).toBe("CANCELLED");
    expect(await shop.faults(id)).toEqual([]);
  });

  test.each([
    ["release", "tok_declined", "REJECTED"],
    ["void", "tok_capture_refused", "REJECTED"],
    ["release", "tok_capture_refused", "REJECTED"],
  ] as const)("during %s of an order that is rejected changes nothing", async (operation, token, state) => {
    cancelAt(operation, "before", lost);
    const { id } = await shop.place(token);
    expect(await stateOf(id)).toBe(state);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("while nobody answers is carried out as soon as somebody does", async () => {
    shop.model.down.add("reserve").add("release");
    const { id } = await shop.place();
    await until(() => shop.model.asked(id).length > 2);
    expect((await shop.orders.cancelOrder({ id })).order).toMatchObject({ cancelRequested: true });
    await until(() => shop.model.asked(id).includes("release"));
    shop.model.calm();
    expect(await stateOf(id)).toBe("CANCELLED");
    expect(shop.model.asked(id)).not.toContain("authorize");
    expect(await shop.faults(id)).toEqual([]);
  });

  test("of what was not begun asks nobody", async () => {
    await using narrow = await startCheckout({ concurrent: 1 });
    const go = Promise.withResolvers<void>();
    narrow.model.disturb((operation) => (operation === "reserve" ? { before: () => go.promise } : undefined));
    const first = await narrow.place();
    await until(() => narrow.model.calls.length === 1);
    const { id } = await narrow.place();
    await narrow.orders.cancelOrder({ id });
    go.resolve();
    expect((await narrow.settled(id)).state).toBe(OrderState.CANCELLED);
    expect(narrow.model.asked(id)).toEqual([]);
    expect((await narrow.settled(first.id)).state).toBe(OrderState.CONFIRMED);
  });

  test("while the buyer is to act, or the provider does not tell, is carried out at once", async () => {
    await using patient = await startCheckout({ askAgainMs: 3_600_000, mostPauseMs: 3_600_000 });
    for (const token of ["tok_requires_action", "tok_pending"]) {
      const { id } = await patient.place(token);
      await until(() => patient.model.payments.has(id));
      const { order } = await patient.orders.cancelOrder({ id, ...waitSettled });
      expect(order?.state).toBe(OrderState.CANCELLED);
      patient.model.settle(id, "AUTHORIZED");
      expect(await patient.faults(id)).toEqual([]);
    }
  });

  test("while the capture has no outcome waits for it, and pays back then", async () => {
    const { id } = await shop.place("tok_capture_pending");
    await until(() => shop.model.asked(id).includes("capture"));
    const { order } = await shop.orders.cancelOrder({ id });
    expect(order).toMatchObject({ state: OrderState.PENDING, cancelRequested: true });
    shop.model.settle(id, "CAPTURED");
    expect(await stateOf(id)).toBe("CANCELLED");
    expect(await shop.faults(id)).toEqual([]);
    expect(await typesOf(id)).toEqual(["order.placed", "order.confirmed", "order.cancelled"]);
  });
});

describe("a confirmed order that is cancelled", () => {
  test("is paid back and put into stock again", async () => {
    shop.model.stock.set("TEA", 3n);
    const { id } = await shop.place("tok_approved", { items: [{ sku: "TEA", quantity: 2 }] as never, ...waitSettled });
    const { order } = await shop.orders.cancelOrder({ id, ...waitSettled });
    expect(order).toMatchObject({ state: OrderState.CANCELLED, reason: "CANCEL_REQUESTED", cancelRequested: false });
    expect(order?.refunds).toMatchObject([{ amount: order?.totalAmount, reason: "The order is cancelled." }]);
    expect(order?.refundedAmount).toEqual(order?.totalAmount);
    expect(shop.model.stock.get("TEA")).toBe(3n);
    expect((await shop.steps(id)).slice(5)).toEqual([
      "CANCEL_REQUESTED",
      "REFUND_REQUESTED",
      "REFUNDED",
      "STOCK_RELEASED",
      "CANCELLED",
    ]);
    expect(await shop.faults(id)).toEqual([]);
    shop.model.stock.delete("TEA");
  });

  test("is the same request in whatever letter case the id is written", async () => {
    const { id } = await shop.place("tok_approved", waitSettled);
    const request = { id: id.toUpperCase(), idempotencyKey: randomUUID() };
    const first = await shop.orders.cancelOrder(request);
    const note = replayNote();
    expect(await shop.orders.cancelOrder({ ...request, id }, note.options)).toEqual(first);
    expect(note.replayed).toBe("true");
    expect(await stateOf(id)).toBe("CANCELLED");
  });

  test("has only the rest paid back, once its refunds are settled", async () => {
    const { id } = await shop.place("tok_refund_pending", waitSettled);
    await shop.orders.refundOrder({ id, amountMinor: 1_000n, idempotencyKey: randomUUID() });
    await until(() => shop.model.asked(id).includes("refund"));
    const { order } = await shop.orders.cancelOrder({ id });
    expect(order?.cancelRequested).toBe(true);
    expect((await refusal(shop.orders.refundOrder({ id, amountMinor: 1n }))).reason).toBe("WRONG_STATE");
    expect((await refusal(shop.orders.fulfilOrder({ id }))).reason).toBe("WRONG_STATE");
    shop.model.settleRefunds(id, "FAILED");
    await until(async () => (await shop.read(id)).refunds.length === 2);
    shop.model.settleRefunds(id, "SUCCEEDED");
    expect(await stateOf(id)).toBe("CANCELLED");
    const cancelled = await shop.read(id);
    expect(cancelled.refunds.map(({ amount }) => amount?.amountMinor)).toEqual([1_000n, 3_070n]);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("stays confirmed where the money cannot be paid back, and history says why", async () => {
    const { id } = await shop.place("tok_refund_refused", waitSettled);
    const { order } = await shop.orders.cancelOrder({ id, ...waitSettled });
    expect(order).toMatchObject({ state: OrderState.CONFIRMED, cancelRequested: false });
    expect(order?.refunds).toMatchObject([{ failureCode: "refused_by_bank" }]);
    const { events } = await shop.orders.listOrderEvents({ id });
    expect(events.at(-1)?.message).toBe("30.70 EUR could not be paid back: refused_by_bank. So it is not cancelled.");
    expect(await shop.faults(id)).toEqual([]);
    expect((await shop.orders.fulfilOrder({ id })).order?.state).toBe(OrderState.FULFILLED);
  });

  test.each(["refund", "release"] as const)("survives lost answers of %s", async (operation) => {
    let times = 0;
    shop.model.disturb((asked) => (asked === operation && (times += 1) <= 3 ? lost : undefined));
    const { id } = await shop.place("tok_approved", waitSettled);
    const { order } = await shop.orders.cancelOrder({ id, ...waitSettled });
    expect(order?.state).toBe(OrderState.CANCELLED);
    const refunds = shop.model.calls.filter((call) => call.orderId === id && call.operation === "refund");
    expect(new Set(refunds.map((call) => call.id)).size).toBe(1);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("that cost nothing is only put into stock again", async () => {
    const { id } = await shop.place("", { items: [{ sku: "FREE", quantity: 1 }] as never, ...waitSettled });
    const { order } = await shop.orders.cancelOrder({ id, ...waitSettled });
    expect([order?.state, order?.refunds]).toEqual([OrderState.CANCELLED, []]);
    expect(shop.model.asked(id)).toEqual(["reserve", "commit", "release"]);
  });

  test("of 20 requests and a fulfilment at the same time one side wins", async () => {
    for (let round = 0; round < 5; round += 1) {
      const { id } = await shop.place("tok_approved", waitSettled);
      const [fulfilled] = await Promise.allSettled([
        shop.orders.fulfilOrder({ id }),
        ...Array.from({ length: 20 }, () => shop.orders.cancelOrder({ id })),
      ]);
      const state = await stateOf(id);
      expect(state).toBe(fulfilled.status === "fulfilled" ? "FULFILLED" : "CANCELLED");
      const steps = await shop.steps(id);
      expect(steps.filter((step) => step === "CANCEL_REQUESTED")).toHaveLength(state === "CANCELLED" ? 1 : 0);
      expect(state === "CANCELLED" ? await shop.faults(id) : []).toEqual([]);
    }
  });
});

test("a key answers as first answered, and waits all the same", async () => {
  const { id } = await shop.place("tok_approved", waitSettled);
  const idempotencyKey = randomUUID();
  const { order: first } = await shop.orders.cancelOrder({ id, idempotencyKey });
  expect(first).toMatchObject({ state: OrderState.CONFIRMED, cancelRequested: true });
  await shop.settled(id);
  expect((await shop.orders.cancelOrder({ id, idempotencyKey })).order).toEqual(first);
  const waited = await shop.orders.cancelOrder({ id, idempotencyKey, ...waitSettled });
  expect(waited.order?.state).toBe(OrderState.CANCELLED);
});
