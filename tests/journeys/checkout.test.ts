import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OrderTransition } from "#gen/commerce/order/v1/order_pb.ts";
import { AdjustmentKind, OrderRefundState, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { stockOf } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation, Topology } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols, refusalOf, spokenTo } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { SmtpSink } from "../support/smtp-sink.ts";
import { startSmtpSink } from "../support/smtp-sink.ts";
import {
  balanceOf,
  checkInvariants,
  endOf,
  holdsOnceAtRest,
  moneyOf,
  newBuyer,
  query,
  stepsOf,
} from "./checkout-shop.ts";
import { all, CONFIRMED, decision, goesThroughOver, MUG, settled, waitsForItsBuyer } from "./checkout-ways.ts";

let sink: SmtpSink;
beforeAll(async () => {
  sink = await startSmtpSink();
});
afterAll(() => sink[Symbol.asyncDispose]());

function startShop(topology: Topology, env: Readonly<Record<string, string>> = {}): Promise<Installation> {
  return startInstallation(topology, { MAIL_URL: `smtp://${sink.host}:${String(sink.port)}`, ...env });
}

describe.each(topologies)("a checkout in %s", (topology) => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await startShop(topology);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  describe("whatever happens", { concurrent: true, timeout: 60_000 }, () => {
    // Those that take longest begin first.
    everyTokenHasItsStory(() => shop);
    goesThroughOver(spokenTo[topology], () => shop);
    goesBackAndForth(() => shop);
    waitsForItsBuyer(() => shop);
    isPaidAsSomebodySays(() => shop);
  });

  test("leaves no promise broken", async () => {
    expect(await holdsOnceAtRest(shop)).toContain("No promise is broken.");
    expect(await balanceOf(clientsOf(protocols.gRPC(shop.url)))).toEqual({ EUR: 0n });
  });

  test.runIf(topology === "one process")("a row that breaks a promise is named by the command", async () => {
    const [one, two, three] = [await newBuyer(shop), await newBuyer(shop), await newBuyer(shop)];
    const [paid, counted, told] = [await one.order(), await two.order(), await three.order()];
    expect([paid, counted, told].map(endOf)).toEqual(["CONFIRMED", "CONFIRMED", "CONFIRMED"]);
    await holdsOnceAtRest(shop);
    const spoil = (role: string, statement: string, ...parameters: string[]) =>
      query(shop, role, statement, parameters);
    await spoil("inventory", "update stock_levels set on_hand = on_hand + 1 where sku = $1", one.sku);
    await spoil("payment", "update payments set order_id = gen_random_uuid() where order_id = $1", paid.id);
    await spoil("order", "update order_adjustments set amount_minor = 246 where order_id = $1", counted.id);
    await spoil("order", "update order_events set state = 'DELIVERED' where order_id = $1 and position = 2", told.id);
    const { code, stdout } = await checkInvariants(shop);
    expect(code).toBe(1);
    const found = stdout.split(/^(?=I\d)/m).flatMap((part) => {
      const [head = "", ...rows] = part.split("\n");
      return head.includes("BROKEN") ? [`${head.replace(/ .*/, "")} ${rows.join(" ")}`] : [];
    });
    expect(found.map((line) => line.replace(/ .*/, ""))).toEqual(expect.arrayContaining(["I1", "I3", "I6", "I13"]));
    for (const [invariant, about] of [
      ["I1", `stock ${one.sku} at main: on hand 10, movements 9`],
      ["I3", `order ${paid.id}: total 1535, refunds 0; captured 0`],
      ["I6", `order ${counted.id}: total 1535, items 1290, lines 1290, adjustments 246`],
      ["I13", `order ${told.id}: step 2 is DELIVERED after PENDING`],
    ]) {
      expect(
        found.find((line) => line.startsWith(`${String(invariant)} `) && line.includes(String(about))),
        stdout,
      ).toBeDefined();
    }
  });
});

describe("an order that nobody pays in time", () => {
  test("ends by itself, and its stock comes back", { timeout: 60_000 }, async () => {
    await using shop = await startShop("one process", { ORDER_PAYMENT_SECONDS: "1" });
    const buyer = await newBuyer(shop);
    const waiting = await buyer.order({ paymentMethodToken: "tok_requires_action" });
    expect(endOf(waiting)).toBe("AWAITING_PAYMENT");
    const ended = await buyer.readOnce(waiting.id, ({ state }) => state !== OrderState.AWAITING_PAYMENT);
    expect(endOf(ended)).toBe("CANCELLED PAYMENT_EXPIRED");
    expect([ended.nextAction, ended.expiresAt]).toEqual([undefined, undefined]);
    expect(await moneyOf(buyer.admin, waiting.id)).toMatchObject({ state: "VOIDED", booked: [] });
    expect(await stockOf(buyer.admin, buyer.sku)).toEqual(all);
    // Too late: the page says so, and nothing is paid.
    const page = await fetch(waiting.nextAction?.redirectUrl ?? "", decision("approve"));
    expect(await page.text()).toContain("This payment is cancelled");
    await holdsOnceAtRest(shop);
    expect((await buyer.read(waiting.id)).state).toBe(OrderState.CANCELLED);
  });
});

/** What a token does to an order, its payment, and what of it can be seen at the provider. */
interface Story {
  readonly end: string;
  readonly payment: string;
  /** Milliseconds that the order takes at least. */
  readonly leastMs?: number;
  /** Refunds of what was paid end so. */
  readonly refund?: readonly OrderRefundState[];
  /** How many webhooks come. */
  readonly webhooks: number;
}

const goesWell: Story = { end: "CONFIRMED", payment: "CAPTURED", webhooks: 2 };
const declined = (code: string): Story => ({ end: `REJECTED CARD_DECLINED ${code}`, payment: "DECLINED", webhooks: 1 });
const { PENDING, SUCCEEDED, FAILED } = OrderRefundState;

/** As docs/payments.md tells them; `tok_requires_action` has tests of its own. */
const stories: Readonly<Record<string, Story>> = {
  tok_webhook_late: goesWell,
  // The webhook may tell what happened before the call that has no answer is given up.
  tok_timeout_after_charge: { ...goesWell, leastMs: 1_500 },
  tok_timeout_after_capture: { ...goesWell, leastMs: 1_500 },
  tok_slow: { ...goesWell, leastMs: 3_000 },
  tok_refund_pending: { ...goesWell, refund: [PENDING, SUCCEEDED] },
  tok_error_after_charge: goesWell,
  tok_error_after_capture: goesWell,
  tok_approved: goesWell,
  tok_declined: declined("card_declined"),
  tok_insufficient_funds: declined("insufficient_funds"),
  tok_expired_card: declined("expired_card"),
  tok_capture_refused: { end: "REJECTED PAYMENT_FAILED capture_refused", payment: "VOIDED", webhooks: 2 },
  tok_refund_refused: { ...goesWell, refund: [PENDING, FAILED] },
  tok_webhook_twice: { ...goesWell, webhooks: 4 },
  tok_webhook_early: goesWell,
  tok_webhook_never: { ...goesWell, webhooks: 0 },
};

function everyTokenHasItsStory(shop: () => Installation): void {
  test.each(Object.entries(stories))("%s does as it is documented", async (paymentMethodToken, story) => {
    const buyer = await newBuyer(shop());
    const { id } = present(
      (
        await buyer.clients.orders.createOrder({
          items: [{ sku: buyer.sku, quantity: 1 }],
          paymentMethodToken,
        })
      ).order,
    );
    const order = await buyer.readOnce(id, ({ state }) => state !== OrderState.PENDING);
    expect(endOf(order)).toBe(story.end);
    const isSold = order.state === OrderState.CONFIRMED;
    const booked = isSold ? ["CAPTURE 1535"] : [];
    const captured = isSold ? MUG : 0n;
    expect(await moneyOf(buyer.admin, id)).toEqual({ state: story.payment, captured, refunded: 0n, booked });
    const left = isSold ? 9n : 10n;
    expect(await stockOf(buyer.admin, buyer.sku)).toEqual({ onHand: left, reserved: 0n, available: left });
    const tookMs = timestampMs(present(order.updatedAt)) - timestampMs(present(order.createdAt));
    expect(tookMs).toBeGreaterThanOrEqual(story.leastMs ?? 0);
    // Whatever was lost on the way: the provider was asked for one payment, and took it once.
    expect(await atProvider(id)).toMatchObject({ payments: 1, captures: isSold ? 1 : 0 });

    await until(async () => (await atProvider(id)).delivered === story.webhooks, 25_000);
    expect(await atProvider(id)).toMatchObject({ webhooks: story.webhooks, unknown: 0 });
    // They have told nothing that was not known.
    expect(await buyer.read(id)).toEqual(order);
    if (story.refund) await refunds(buyer, id, story.refund);
  });

  /** Half of it is asked back, then the order is cancelled: what is refused leaves it as it was. */
  async function refunds(buyer: Awaited<ReturnType<typeof newBuyer>>, id: string, states: readonly OrderRefundState[]) {
    const { refund } = await buyer.admin.orders.refundOrder({ id, amountMinor: 700n });
    expect(refund?.state).toBe(states[0]);
    const after = await buyer.readOnce(id, (order) => order.refunds[0]?.state === states[1]);
    const isPaid = states[1] === SUCCEEDED;
    expect(after.refundedAmount?.amountMinor).toBe(isPaid ? 700n : 0n);
    expect(after.refunds[0]?.failureCode).toBe(isPaid ? "" : "refund_refused");
    const { order } = await buyer.clients.orders.cancelOrder({ id, ...settled }, { timeoutMs: 25_000 });
    expect(endOf(present(order))).toBe(isPaid ? "CANCELLED CANCEL_REQUESTED" : "CONFIRMED");
    expect(await moneyOf(buyer.admin, id)).toMatchObject({ captured: MUG, refunded: isPaid ? MUG : 0n });
    const steps = await buyer.steps(id);
    expect(steps.at(-1)).toBe(isPaid ? "CANCELLED" : "REFUND_FAILED");
    expect(order?.cancelRequested).toBe(false);
  }

  async function atProvider(orderId: string) {
    const [seen] = await query<
      Record<"payments" | "captures" | "webhooks" | "delivered", number> & { ids: string[] | null }
    >(
      shop(),
      "sandbox",
      `select (select count(*)::int from payments where order_id = $1) as payments,
         (select count(*)::int from journal join payments using (reference)
          where order_id = $1 and kind = 'capture') as captures,
         count(webhooks)::int as webhooks, count(delivered_at)::int as delivered, array_agg(event_id) as ids
       from webhooks join payments using (payment_id) where order_id = $1`,
      [orderId],
    );
    const { ids, ...counts } = present(seen);
    const told = [...new Set(ids ?? [])];
    const known = await query(shop(), "payment", "select from webhook_events where id = any ($1)", [told]);
    return { ...counts, unknown: told.length - known.length };
  }
}

function goesBackAndForth(shop: () => Installation): void {
  test("units are refunded with their tax, come back into stock, and sum to what was paid", async () => {
    const buyer = await newBuyer(shop());
    const { sku, admin } = buyer;
    const { id } = await buyer.order({
      items: [
        { sku, quantity: 3 },
        { sku, quantity: 1 },
      ],
    });
    const refund = async (request: object) => {
      const made = present((await admin.orders.refundOrder({ id, ...request })).refund);
      const paid = await buyer.readOnce(id, ({ refunds }) =>
        refunds.some((each) => each.id === made.id && each.state === OrderRefundState.SUCCEEDED),
      );
      return { minor: made.amount?.amountMinor, paid: paid.refundedAmount?.amountMinor };
    };
    // Two of three units at 12.90 EUR, with 19 % on the line.
    expect(await refund({ lines: [{ number: 1, quantity: 2 }], restock: true, reason: "too many" })).toEqual({
      minor: 3_070n,
      paid: 3_070n,
    });
    await until(async () => (await stockOf(admin, sku))["onHand"] === 8n);
    expect((await refusalOf(refund({ lines: [{ number: 1, quantity: 2 }] }))).reason).toBe("REFUND_TOO_LARGE");
    expect(await refund({ amountMinor: 100n })).toEqual({ minor: 100n, paid: 3_170n });
    expect((await refusalOf(refund({ amountMinor: 3_000n }))).reason).toBe("REFUND_TOO_LARGE");
    const total = present((await buyer.read(id)).totalAmount).amountMinor;
    expect(await refund({ restock: true })).toEqual({ minor: total - 3_170n, paid: total });
    await until(async () => (await stockOf(admin, sku))["onHand"] === 10n);
    expect((await refusalOf(refund({}))).reason).toBe("REFUND_TOO_LARGE");
    expect(await moneyOf(admin, id)).toMatchObject({ captured: total, refunded: total });
    // Nothing is left that could be sent.
    expect((await refusalOf(admin.orders.fulfilOrder({ id }))).reason).toBe("WRONG_STATE");
  });

  test("what has left arrives, is not cancelled any more, and is paid back all the same", async () => {
    const buyer = await newBuyer(shop());
    const { id, version } = await buyer.order();
    const { orders } = buyer.admin;
    expect((await refusalOf(orders.deliverOrder({ id }))).reason).toBe("WRONG_STATE");
    expect((await orders.fulfilOrder({ id, expectedVersion: version })).order?.state).toBe(OrderState.FULFILLED);
    expect(await refusalOf(buyer.clients.orders.cancelOrder({ id }))).toEqual({
      code: "FailedPrecondition",
      reason: "WRONG_STATE",
    });
    await orders.refundOrder({ id, lines: [{ number: 1, quantity: 1 }], restock: true });
    await buyer.readOnce(id, ({ refundedAmount }) => refundedAmount?.amountMinor === MUG);
    await until(async () => (await stockOf(buyer.admin, buyer.sku))["onHand"] === 10n);
    expect((await orders.deliverOrder({ id })).order?.state).toBe(OrderState.DELIVERED);
    const seen: (OrderTransition | undefined)[] = [];
    // It ends by itself: nothing comes any more.
    for await (const { event } of buyer.clients.orders.watchOrder({ id })) seen.push(event);
    const [refund, end] = [["REFUND_REQUESTED", "REFUNDED", "STOCK_RETURNED"], "DELIVERED"];
    expect(stepsOf(seen)).toEqual([...CONFIRMED, "FULFILLED", ...refund, end]);
    await until(async () => (await buyer.mails()).length === 4);
    expect((await buyer.mails()).slice(1)).toEqual(["order-placed", "order-confirmed", "order-fulfilled"]);
  });
}

function isPaidAsSomebodySays(shop: () => Installation): void {
  test("a saved payment method pays until it is removed", async () => {
    const buyer = await newBuyer(shop());
    const { payments } = buyer.clients;
    const save = async (token: string) => present((await payments.savePaymentMethod({ token })).paymentMethod);
    const [bad, good] = [await save("tok_insufficient_funds"), await save("tok_approved")];
    expect((await payments.listPaymentMethods({})).paymentMethods).toMatchObject([
      { id: good.id, userId: buyer.userId, lastDigits: "4242", provider: "sandbox" },
      { id: bad.id, lastDigits: "9995" },
    ]);
    const by = async (paymentMethodId: string) => endOf(await buyer.order({ paymentMethodId }));
    expect(await by(bad.id)).toBe("REJECTED CARD_DECLINED insufficient_funds");
    expect(await by(good.id)).toBe("CONFIRMED");
    await payments.removePaymentMethod({ id: good.id });
    expect(await by(good.id)).toBe("REJECTED PAYMENT_METHOD_INVALID");
    // Nor does anybody pay with another's.
    const other = await newBuyer(shop());
    expect(endOf(await other.order({ paymentMethodId: bad.id }))).toBe("REJECTED PAYMENT_METHOD_INVALID");
  });

  test("an admin grants a discount and asks for shipping, and what costs nothing is not paid", async () => {
    const buyer = await newBuyer(shop());
    const { sku, userId, admin } = buyer;
    const discount = (amountMinor: bigint) => ({ kind: AdjustmentKind.DISCOUNT, label: "Sorry", amountMinor });
    const shipping = { kind: AdjustmentKind.SHIPPING, label: "Parcel", amountMinor: 500n, taxCategory: "standard" };
    expect((await refusalOf(buyer.order({ adjustments: [discount(-1n)] }))).reason).toBe("ACCESS_DENIED");
    const grant = async (...adjustments: (ReturnType<typeof discount> | typeof shipping)[]) => {
      const items = [{ sku, quantity: 1 }];
      return present((await admin.orders.createOrder({ userId, items, adjustments, ...settled })).order);
    };
    const paid = await grant(discount(-290n), shipping);
    expect(endOf(paid)).toBe("CONFIRMED");
    // 12.90 less 2.90, and 5.00 for the parcel, and 19 % on all of it.
    expect(paid.totalAmount?.amountMinor).toBe(1_785n);
    expect(await moneyOf(admin, paid.id)).toMatchObject({ captured: 1_785n, booked: ["CAPTURE 1785"] });

    const free = await grant(discount(-1_290n));
    expect([endOf(free), free.totalAmount?.amountMinor]).toEqual(["CONFIRMED", 0n]);
    expect(await buyer.steps(free.id)).toEqual(["PLACED", "STOCK_RESERVED", "STOCK_COMMITTED", "CONFIRMED"]);
    expect((await refusalOf(admin.payments.getPayment({ orderId: free.id }))).reason).toBe("NOT_FOUND");
    const { order } = await buyer.clients.orders.cancelOrder({ id: free.id, ...settled });
    expect(endOf(present(order))).toBe("CANCELLED CANCEL_REQUESTED");
    expect(await stockOf(admin, sku)).toEqual({ onHand: 9n, reserved: 0n, available: 9n });
  });
}
