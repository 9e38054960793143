import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { AdjustmentKind, OrderService, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { orderRole } from "../../src/roles/order/index.ts";
import type { OrderTables } from "../../src/roles/order/schema.ts";
import { pruneSagas } from "../../src/roles/order/store-sagas.ts";
import { until } from "../support/conditions.ts";
import type { Checkout } from "../support/order.ts";
import { nameOf, orderConfig, startCheckout, waitSettled } from "../support/order.ts";
import { lost, unreachable } from "../support/order-peers.ts";
import type { Operation } from "../support/order-peers.ts";
import { eventsOf } from "../support/outbox.ts";
import { refusal } from "../support/role.ts";

let shop: Checkout;
beforeAll(async () => {
  shop = await startCheckout();
});
afterAll(() => shop[Symbol.asyncDispose]());
afterEach(() => {
  shop.model.calm();
});

const typesOf = async (id: string) =>
  (await eventsOf(shop.role.database<never>(), OrderEventSchema, id)).map(({ type }) => type);
const straight: Operation[] = ["reserve", "authorize", "commit", "capture"];

describe("an order is carried out", () => {
  test("it is held, authorized, taken, paid, each once", async () => {
    const { id } = await shop.place();
    const order = await shop.settled(id);
    expect(order).toMatchObject({ state: OrderState.CONFIRMED, reason: "", version: 2 });
    expect(shop.model.asked(id)).toEqual(straight);
    const { events } = await shop.orders.listOrderEvents({ id });
    expect(events.map(({ message }) => message.replaceAll(/\d{4}-\S+ \S+/g, "…"))).toEqual([
      "1 SKU for 30.70 EUR.",
      "1 SKU is held until … UTC.",
      "The payment of 30.70 EUR is authorized.",
      "1 SKU is taken out of the stock.",
      "30.70 EUR are paid.",
    ]);
    expect(events.map(({ state }) => state)).toEqual([
      ...Array<OrderState>(4).fill(OrderState.PENDING),
      OrderState.CONFIRMED,
    ]);
    expect(await typesOf(id)).toEqual(["order.placed", "order.confirmed"]);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("who waits until it is settled gets the end, and a replay that waits too", async () => {
    const more = { ...waitSettled, idempotencyKey: randomUUID() };
    const confirmed = await shop.place("tok_approved", more);
    expect(confirmed.state).toBe(OrderState.CONFIRMED);
    expect(await shop.place("tok_approved", more)).toEqual(confirmed);
    expect(await shop.place("tok_declined", waitSettled)).toMatchObject({
      state: OrderState.REJECTED,
      reason: "CARD_DECLINED",
      reasonMetadata: { decline_code: "card_declined" },
    });
  });

  test("what costs nothing is not paid", async () => {
    const { id } = await shop.place("", { items: [{ sku: "FREE", quantity: 2 }] as never });
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(shop.model.asked(id)).toEqual(["reserve", "commit"]);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("WatchOrder streams each step once", async () => {
    const { id } = await shop.place();
    const steps: string[] = [];
    for await (const { event } of shop.orders.watchOrder({ id })) {
      steps.push(`${String(event?.position)} ${String(event?.step)}`);
      if (event?.state === OrderState.CONFIRMED) await shop.orders.cancelOrder({ id });
    }
    const { events } = await shop.orders.listOrderEvents({ id });
    expect(steps).toEqual(events.map(({ position, step }) => `${String(position)} ${String(step)}`));
    expect(events.at(-1)?.state).toBe(OrderState.CANCELLED);
  });
});

describe("an order that cannot be carried out is rejected, and holds nothing", () => {
  /** How the order ended, after which calls, and what is wrong then. */
  async function endOf(id: string) {
    const { state, reason } = await shop.settled(id);
    const [, ended] = await typesOf(id);
    return [nameOf(OrderState, state), reason, shop.model.asked(id), ended, await shop.faults(id)];
  }
  const rejected = (reason: string, asked: Operation[]) => ["REJECTED", reason, asked, "order.rejected", []];

  test("out of stock at the reservation", async () => {
    shop.model.stock.set("TEA", 1n);
    const items = [
      { sku: "TEA", quantity: 1 },
      { sku: "TEA", quantity: 1 },
    ];
    const { id } = await shop.place("tok_approved", { items: items as never });
    expect(await endOf(id)).toEqual(rejected("OUT_OF_STOCK", ["reserve"]));
    expect((await shop.read(id)).reasonMetadata).toEqual({ sku: "TEA", requested: "2", available: "1" });
    expect(shop.model.stock.get("TEA")).toBe(1n);
    shop.model.stock.delete("TEA");
  });

  test("declined, and a method that is not known", async () => {
    expect(await endOf((await shop.place("tok_declined")).id)).toEqual(
      rejected("CARD_DECLINED", ["reserve", "authorize", "release"]),
    );
    expect(await endOf((await shop.place("tok_invalid")).id)).toEqual(
      rejected("PAYMENT_METHOD_INVALID", ["reserve", "authorize", "release"]),
    );
  });

  test("a hold that expired and whose units are gone", async () => {
    shop.model.stock.set("TEA", 2n);
    shop.model.disturb((operation, orderId) => {
      if (operation !== "authorize" || !shop.model.reservations.get(orderId)?.units.has("TEA")) return undefined;
      const after = () => {
        shop.model.expire(orderId);
        shop.model.stock.set("TEA", 0n);
      };
      return { after };
    });
    const { id } = await shop.place("tok_approved", { items: [{ sku: "TEA", quantity: 2 }] as never });
    expect(await endOf(id)).toEqual(rejected("OUT_OF_STOCK", ["reserve", "authorize", "commit", "void", "release"]));
    shop.model.stock.delete("TEA");
  });

  test("a capture that is refused: the units come back", async () => {
    shop.model.stock.set("TEA", 2n);
    const { id } = await shop.place("tok_capture_refused", { items: [{ sku: "TEA", quantity: 2 }] as never });
    expect(await endOf(id)).toEqual(rejected("PAYMENT_FAILED", [...straight, "void", "release"]));
    expect((await shop.read(id)).reasonMetadata).toEqual({ failure_code: "capture_refused" });
    expect(shop.model.stock.get("TEA")).toBe(2n);
    shop.model.stock.delete("TEA");
  });
});

describe("answers that are lost", () => {
  test.each(straight)("%s: it is asked again, and done once", async (operation) => {
    shop.model.disturb((asked, id) => (asked === operation && count(operation, id) <= 2 ? lost : undefined));
    const { id } = await shop.place();
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(count(operation, id)).toBe(3);
    expect(await shop.faults(id)).toEqual([]);
  });

  test.each(straight)("%s: what never arrived is asked again", async (operation) => {
    shop.model.disturb((asked, id) => (asked === operation && count(operation, id) <= 2 ? unreachable : undefined));
    const { id } = await shop.place();
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(await shop.faults(id)).toEqual([]);
  });

  test.each(["void", "release"] as const)("%s: what is undone is undone once", async (operation) => {
    shop.model.disturb((asked, id) => (asked === operation && count(operation, id) <= 3 ? lost : undefined));
    const { id } = await shop.place("tok_capture_refused");
    expect((await shop.settled(id)).state).toBe(OrderState.REJECTED);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("a reservation that arrives after the order was rejected finds a tombstone", async () => {
    await using impatient = await startCheckout({ callMs: 100 });
    const { model } = impatient;
    const late = Promise.withResolvers<void>();
    model.stock.set("TEA", 1n);
    model.disturb((operation) => {
      const isFirst = model.calls.filter((call) => call.operation === operation).length === 1;
      return operation === "reserve" && isFirst ? { before: () => late.promise } : undefined;
    });
    const { id } = await impatient.place("tok_approved", { items: [{ sku: "TEA", quantity: 2 }] as never });
    expect((await impatient.settled(id)).reason).toBe("OUT_OF_STOCK");
    expect(model.asked(id)).toEqual(["reserve", "reserve", "release"]);
    model.stock.set("TEA", 5n);
    late.resolve();
    await until(() => model.calls.every(({ ended }) => ended));
    expect(await impatient.faults(id)).toEqual([]);
  });

  function count(operation: Operation, id: string): number {
    return shop.model.asked(id).filter((asked) => asked === operation).length;
  }
});

describe("outcomes that the provider does not tell", () => {
  test("an authorization is asked about until it is known", async () => {
    const { id } = await shop.place("tok_pending");
    await until(() => shop.model.asked(id).filter((asked) => asked === "authorize").length > 3);
    expect((await shop.read(id)).state).toBe(OrderState.PENDING);
    shop.model.settle(id, "AUTHORIZED");
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("a capture is asked about until it is known", async () => {
    const { id } = await shop.place("tok_capture_pending");
    await until(() => shop.model.asked(id).filter((asked) => asked === "capture").length > 3);
    shop.model.settle(id, "CAPTURED");
    expect((await shop.settled(id)).state).toBe(OrderState.CONFIRMED);
    expect(await shop.faults(id)).toEqual([]);
  });

  test.each([
    ["reserve", "INVENTORY_UNAVAILABLE"],
    ["authorize", "PAYMENT_UNAVAILABLE"],
    ["commit", "INVENTORY_UNAVAILABLE"],
  ] as const)("%s: without an answer for ten minutes it is given up", async (operation, reason) => {
    await using hurried = await startCheckout();
    hurried.model.down.add(operation);
    const { id } = await hurried.place();
    await until(() => hurried.model.asked(id).filter((asked) => asked === operation).length > 2);
    expect((await hurried.read(id)).state).toBe(OrderState.PENDING);
    hurried.role.clock.advance(600_000);
    const order = await hurried.settled(id);
    expect([order.state, order.reason]).toEqual([OrderState.REJECTED, reason]);
    expect(await hurried.faults(id)).toEqual([]);
  });
});

describe("an order that waits for its buyer", () => {
  test("tells where to send them and until when; who waits gets that", async () => {
    const order = await shop.place("tok_requires_action", waitSettled);
    expect(order).toMatchObject({
      state: OrderState.AWAITING_PAYMENT,
      nextAction: { redirectUrl: `https://bank.test/${order.id}` },
    });
    const expires = BigInt(Math.floor(shop.role.clock.now().getTime() / 1_000)) + 1_800n;
    expect(order.expiresAt?.seconds).toBe(expires);
    expect(await typesOf(order.id)).toEqual(["order.placed", "order.awaiting_payment"]);

    shop.model.settle(order.id, "AUTHORIZED");
    const confirmed = await shop.settled(order.id);
    expect(confirmed.state).toBe(OrderState.CONFIRMED);
    expect([confirmed.nextAction, confirmed.expiresAt]).toEqual([undefined, undefined]);
    expect(await shop.steps(order.id)).toEqual([
      "PLACED",
      "STOCK_RESERVED",
      "PAYMENT_ACTION_REQUIRED",
      "PAYMENT_AUTHORIZED",
      "STOCK_COMMITTED",
      "CONFIRMED",
    ]);
  });

  test("ends by itself", async () => {
    await using brief = await startCheckout();
    const { id } = await brief.place("tok_requires_action", waitSettled);
    brief.role.clock.advance(1_800_000);
    const order = await brief.settled(id);
    expect([order.state, order.reason]).toEqual([OrderState.CANCELLED, "PAYMENT_EXPIRED"]);
    expect(await brief.faults(id)).toEqual([]);
    brief.model.settle(id, "AUTHORIZED");
    expect(await brief.faults(id)).toEqual([]);
  });

  test("goes on at once when an event of its payment comes", async () => {
    await using patient = await startCheckout({ askAgainMs: 3_600_000 });
    const { id } = await patient.place("tok_requires_action", waitSettled);
    patient.model.settle(id, "AUTHORIZED");
    await patient.paymentEvent("authorized", id);
    expect((await patient.settled(id)).state).toBe(OrderState.CONFIRMED);
  });

  test("an event that comes while it is asked is not lost", async () => {
    await using patient = await startCheckout({ askAgainMs: 3_600_000 });
    const asked = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    patient.model.disturb((operation) => {
      if (operation !== "authorize") return undefined;
      const after = () => {
        asked.resolve();
        return go.promise;
      };
      return { after };
    });
    const { id } = await patient.place("tok_requires_action");
    await asked.promise;
    patient.model.calm();
    await patient.paymentEvent("authorized", id);
    go.resolve();
    await until(() => patient.model.asked(id).filter((one) => one === "authorize").length > 1);
    patient.model.settle(id, "AUTHORIZED");
    await patient.paymentEvent("authorized", id);
    expect((await patient.settled(id)).state).toBe(OrderState.CONFIRMED);
  });
});

test("units are held for longer than a buyer may take to pay", () => {
  const config = { ...orderConfig, ORDER_HOLD_SECONDS: 1_800 };
  expect(() => orderRole().start({ config } as never)).toThrow(
    "ORDER_HOLD_SECONDS (1800) must be more than ORDER_PAYMENT_SECONDS (1800).",
  );
});

test("what was finished thirty days ago is forgotten, what is under way is not", async () => {
  await using patient = await startCheckout({ askAgainMs: 3_600_000 });
  const db = patient.role.database<OrderTables>();
  const finished = await patient.place();
  const fresh = await patient.place();
  const waiting = await patient.place("tok_requires_action", waitSettled);
  await patient.settled(finished.id);
  await patient.settled(fresh.id);
  await sql`
    update sagas set created_at = now() - interval '40 days', step_since = now() - interval '40 days',
      finished_at = finished_at - case when id = ${fresh.id} then interval '29 days' else interval '31 days' end
  `.execute(db);
  await pruneSagas(db);
  const left = await db.selectFrom("sagas").select("id").orderBy("id").execute();
  expect(left.map(({ id }) => id)).toEqual([fresh.id, waiting.id]);
  // Its order can still be paid back.
  const { refund } = await patient.orders.refundOrder({ id: finished.id });
  await patient.settled(finished.id);
  expect(await patient.faults(finished.id)).toEqual([]);
  expect(refund?.amount).toEqual(finished.totalAmount);
});

describe("what people add to an order", () => {
  const adjustment = (kind: keyof typeof AdjustmentKind, amountMinor: bigint, lineNumber = 0, taxCategory = "") => ({
    kind: AdjustmentKind[kind],
    amountMinor,
    lineNumber,
    label: kind,
    taxCategory,
  });

  test("is priced with it, and paid", async () => {
    const adjustments = [adjustment("SHIPPING", 500n, 0, "standard"), adjustment("DISCOUNT", -580n, 1)];
    const { id, totalAmount } = await shop.place("tok_approved", { adjustments } as never);
    // 2580 less 580 is 2000, with 500 of shipping 2500, and 19 %.
    expect(totalAmount?.amountMinor).toBe(2975n);
    await shop.settled(id);
    expect(await shop.faults(id)).toEqual([]);
  });

  test("needs a permission, and makes sense", async () => {
    const mine = shop.role.client(OrderService, { subject: { kind: "user", id: shop.userId, permissions: [] } });
    const items = [{ sku: "MUG", quantity: 1 }];
    const refusals = [
      mine.createOrder({ items, adjustments: [adjustment("DISCOUNT", -1n)] }),
      shop.place("", { adjustments: [adjustment("DISCOUNT", 1n), adjustment("FEE", -1n, 2)] } as never),
      shop.place("", { adjustments: [adjustment("DISCOUNT", -2_581n)] } as never),
      shop.place("", { adjustments: [adjustment("TAX", 1n)] } as never),
      shop.place("tok_approved", { paymentMethodId: randomUUID() } as never),
    ].map((call) => refusal(call));
    const refused = await Promise.all(refusals);
    expect(refused.map(({ reason, details }) => [reason, details.fields?.map(({ field }) => field)])).toEqual([
      ["ACCESS_DENIED", undefined],
      ["INVALID_REQUEST", ["adjustments[0].amount_minor", "adjustments[1].line_number", "adjustments[1].amount_minor"]],
      ["DISCOUNT_TOO_LARGE", undefined],
      ["INVALID_REQUEST", ["adjustments[0].kind"]],
      ["INVALID_REQUEST", ["payment_method_id"]],
    ]);
  });
});
