import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { orderPeer } from "../../src/roles/payment/peers.ts";
import type { CheckContext } from "../../src/roles/payment/check-orders.ts";
import { checkOrders, checkProvider } from "../../src/roles/payment/check-orders.ts";
import { sandboxProvider } from "../../src/roles/payment/sandbox-provider.ts";
import { hurryOperations, postponeOperation } from "../../src/roles/payment/store-operations.ts";
import { newId } from "../../src/platform/id.ts";
import { until } from "../support/conditions.ts";
import type { Buying, PaymentTest } from "../support/payment.ts";
import { anOrder, checkBooks, euros, operationsOf, startPaymentTest } from "../support/payment.ts";
import { present, refusal } from "../support/role.ts";

let shop: PaymentTest;
beforeAll(async () => {
  shop = await startPaymentTest();
});
afterAll(() => shop[Symbol.asyncDispose]());

const eventOf = (paymentId: string, type = "payment.authorized", id = newId()) => ({
  id,
  type,
  payment_id: paymentId,
  occurred_at: new Date().toISOString(),
});

const stored = async () => (await sql`select id from webhook_events`.execute(shop.db)).rows.length;

/** An authorization whose outcome is not known, and is not looked up by itself for a long while. */
async function unknown(order: Buying): Promise<string> {
  shop.provider.plan(order.orderId, "authorize", "error after");
  const { id } = await shop.authorize(order);
  await sql`
    update payment_operations set due_at = clock_timestamp() + interval '1 hour' where payment_id = ${id}
  `.execute(shop.db);
  return id;
}

describe("a webhook", () => {
  test.each([
    ["without a signature", { header: "" }],
    ["with one of another key", { key: Buffer.alloc(32, 7) }],
    ["with one that is cut", { header: "t=1,v1=abc" }],
    ["from long ago", { at: new Date(Date.now() - 301_000) }],
    ["from a time to come", { at: new Date(Date.now() + 302_000) }],
  ])("%s is refused, and not stored", async (_what, options) => {
    const order = anOrder();
    const id = await unknown(order);
    const before = await stored();
    expect(await shop.webhook(eventOf(id), options)).toBe(401);
    expect(await stored()).toBe(before);
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.PENDING });
    expect(await shop.webhook(eventOf(id))).toBe(200);
    await shop.settled();
  });

  test("has its payment looked up, at once", async () => {
    const order = anOrder();
    const id = await unknown(order);
    const before = await stored();
    for (let time = 0; time < 5; time += 1)
      expect(await shop.webhook(eventOf(id, "payment.captured", "same"))).toBe(200);
    expect(await stored()).toBe(before + 1);
    await shop.settled();
    // What it says is not believed: nothing was captured.
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED, capturedAmount: euros(0n) });
    await checkBooks(shop);
  });

  test("that comes before the answer settles the payment; the answer then changes nothing", async () => {
    const order = anOrder();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    shop.provider.plan(order.orderId, "authorize", { answerAfter: promise });
    const call = shop.authorize(order);
    await until(() => [...shop.provider.payments.values()].some(({ orderId }) => orderId === order.orderId));
    const { id } = await shop.get(order);
    expect(await shop.webhook(eventOf(id))).toBe(200);
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED });
    resolve(undefined);
    expect(await call).toMatchObject({ state: PaymentState.AUTHORIZED });
    const { rows } = await sql`select from outbox where aggregate_id = ${id}`.execute(shop.db);
    expect(rows).toHaveLength(1);
  });

  test("while a call is on its way does not have it sent a second time", async () => {
    const order = anOrder();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    shop.provider.plan(order.orderId, "authorize", { after: promise });
    const calls = () => shop.provider.received.filter((call) => shop.provider.orderOf(call) === order.orderId);
    const call = shop.authorize(order);
    await until(() => calls().length === 1);
    const { id } = await shop.get(order);
    const looks = shop.provider.looks;
    await shop.webhook(eventOf(id));
    await until(() => shop.provider.looks > looks);
    resolve(undefined);
    await call;
    await shop.settled();
    expect(calls()).toHaveLength(1);
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED });
  });

  test("after a void changes nothing", async () => {
    const order = anOrder();
    const { id } = await shop.authorize(order);
    await shop.client.voidPayment(order);
    await shop.settled();
    for (const type of ["payment.authorized", "payment.captured", "payment.declined"]) {
      expect(await shop.webhook(eventOf(id, type))).toBe(200);
    }
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.VOIDED, problem: "" });
    await checkBooks(shop);
  });

  test("in any order, together with the calls, leads to the same end", async () => {
    for (let round = 0; round < 5; round += 1) {
      const order = anOrder();
      const { id } = await shop.authorize(order);
      const types = ["payment.refunded", "payment.captured", "payment.authorized", "payment.declined"];
      const storm = () => Promise.all(types.flatMap((type) => [1, 2].map(() => shop.webhook(eventOf(id, type)))));
      const [, statuses] = await Promise.all([shop.client.capturePayment(order), storm()]);
      expect(new Set(statuses)).toEqual(new Set([200]));
      const [refund] = await Promise.all([shop.refund(order, 1290n), storm()]);
      expect(refund.state).toBe(RefundState.SUCCEEDED);
      await shop.settled();
      expect(await shop.get(order)).toMatchObject({ capturedAmount: euros(1290n), refundedAmount: euros(1290n) });
      expect(await operationsOf(shop, order)).toEqual(["AUTHORIZE SUCCEEDED", "CAPTURE SUCCEEDED", "REFUND SUCCEEDED"]);
    }
    await checkBooks(shop);
  });

  test.each(["", "no id of ours", newId()])("about the payment '%s' is taken, and nothing done", async (paymentId) => {
    expect(await shop.webhook(eventOf(paymentId))).toBe(200);
  });

  test("of another provider finds nobody", async () => {
    const route = present(shop.role.running.routes?.find(({ path }) => path === "/webhooks/:provider"));
    const request = { params: { provider: "stripe" }, headers: {}, body: Buffer.alloc(0) };
    expect(await route.handle(request as never)).toEqual({ status: 404 });
  });
});

describe("what the provider did by itself", () => {
  test("a capture that nobody asked for is flagged, and not booked", async () => {
    const order = anOrder();
    const id = await unknown(order);
    Object.assign(present(shop.provider.byPaymentId(id)), { state: "captured", captured: 1290n });
    await shop.webhook(eventOf(id));
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED, problem: "PROVIDER_DIFFERS" });
    const { payments } = await shop.admin.listPayments({ onlyProblems: true });
    expect(payments.map(({ orderId }) => orderId)).toContain(order.orderId);
  });

  test("a second payment of ours at the provider is flagged", async () => {
    const order = anOrder();
    const id = await unknown(order);
    await sql`update payments set provider_reference = 'pay_other' where id = ${id}`.execute(shop.db);
    await shop.webhook(eventOf(id));
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ problem: "PROVIDER_DIFFERS" });
  });

  const looksFor = async (type: string, id: string) => {
    const before = shop.provider.looks;
    expect(await shop.webhook(eventOf(id, type))).toBe(200);
    await until(async () => {
      const { rows } = await sql`select from payments where id = ${id} and look_at is not null`.execute(shop.db);
      return rows.length === 0;
    });
    return shop.provider.looks - before;
  };

  test("a refund in its dashboard is seen and flagged, although nothing is open", async () => {
    const { payment, ...order } = await shop.paid();
    const refund = { key: "", minor: 300n, state: "succeeded", failureCode: "" };
    present(shop.provider.byPaymentId(payment.id)).refunds.push(refund as never);
    expect(await looksFor("payment.refunded", payment.id)).toBe(1);
    expect(await shop.get(order)).toMatchObject({ problem: "PROVIDER_DIFFERS", refundedAmount: euros(0n) });
  });

  test("a refund that came back after it had succeeded is flagged", async () => {
    const { payment, ...order } = await shop.paid();
    await shop.refund(order, 300n);
    await shop.settled();
    expect(await looksFor("payment.refunded", payment.id)).toBe(1);
    expect(await shop.get(order)).toMatchObject({ problem: "" });
    Object.assign(present(present(shop.provider.byPaymentId(payment.id)).refunds[0]), { state: "failed" });
    expect(await looksFor("payment.refunded", payment.id)).toBe(1);
    expect(await shop.get(order)).toMatchObject({ problem: "PROVIDER_DIFFERS", refundedAmount: euros(300n) });
  });

  test("what it tells while something is open is not lost behind an older answer", async () => {
    const order = anOrder();
    const id = await unknown(order);
    // One look for what is open, and one that began after the webhook for sure.
    const before = shop.provider.looks;
    await looksFor("payment.refunded", id);
    await shop.settled();
    expect(shop.provider.looks - before).toBe(2);
    const other = await unknown(anOrder());
    const isDue = await shop.db.transaction().execute(async (trx) => {
      await hurryOperations(trx, other);
      const { id: operation } = await trx
        .selectFrom("payment_operations")
        .select("id")
        .where("payment_id", "=", other)
        .executeTakeFirstOrThrow();
      await postponeOperation(trx, operation, 60_000, false);
      const { rows } = await sql`
        select from payment_operations where id = ${operation} and due_at <= clock_timestamp()
      `.execute(trx);
      return rows.length > 0;
    });
    expect(isDue).toBe(true);
    await shop.settled();
  });

  test("what it gave back before it was taken cannot be captured any more", async () => {
    const order = anOrder();
    const { id } = await shop.authorize(order);
    expect(await looksFor("payment.authorized", id)).toBe(0);
    Object.assign(present(shop.provider.byPaymentId(id)), { state: "voided" });
    expect(await looksFor("payment.voided", id)).toBe(1);
    expect(await shop.get(order)).toMatchObject({ problem: "PROVIDER_DIFFERS" });
    expect((await refusal(shop.client.capturePayment(order))).reason).toBe("CAPTURE_FAILED");
  });

  test("what it holds although it was declined is given back", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", { state: "declined", code: "card_declined" });
    await refusal(shop.authorize(order));
    const { id } = await shop.get(order);
    const theirs = present(shop.provider.byPaymentId(id));
    expect(theirs.state).toBe("declined");
    theirs.state = "authorized";
    expect(await looksFor("payment.authorized", id)).toBeGreaterThan(0);
    await shop.settled();
    expect(theirs.state).toBe("voided");
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.DECLINED });
  });

  test("what was done here and comes back as a webhook spares the provider a look", async () => {
    const { payment } = await shop.paid();
    for (const type of ["payment.authorized", "payment.captured", "payment.requires_action"])
      expect(await looksFor(type, payment.id)).toBe(0);
    expect(await looksFor("payment.declined", payment.id)).toBe(1);
  });
});

describe("money without an order", () => {
  let checks: CheckContext;
  const told: string[] = [];
  const key = () => shop.context.sharedKey("sandbox");
  beforeAll(() => {
    const log = {
      warn: () => told.push("warn"),
      error: (fields: { reference: string }) => told.push(fields.reference),
    };
    checks = {
      db: shop.db,
      provider: sandboxProvider({
        url: () => shop.provider.url,
        fetchPeer: fetch,
        apiKey: key().toString("hex"),
        webhookKey: Buffer.alloc(32),
      }),
      orders: orderPeer(shop.context.peers),
      log: log as never,
      closing: new AbortController().signal,
    };
  });
  beforeEach(async () => {
    told.length = 0;
    await sql`update payments set check_at = clock_timestamp() + interval '1 hour'`.execute(shop.db);
  });

  const due = ({ orderId }: Buying) =>
    sql`update payments set check_at = clock_timestamp() - interval '1 ms' where order_id = ${orderId}`.execute(
      shop.db,
    );
  const problemOf = async (order: Buying) => (await shop.get(order)).problem;

  test.each([
    ["there is none", undefined, "PAID_WITHOUT_ORDER"],
    ["it is rejected", OrderState.REJECTED, "PAID_WITHOUT_ORDER"],
    ["it is cancelled", OrderState.CANCELLED, "PAID_WITHOUT_ORDER"],
    ["it waits", OrderState.PENDING, ""],
    ["it is confirmed", OrderState.CONFIRMED, ""],
    ["it has arrived", OrderState.DELIVERED, ""],
  ])("where %s", async (_what, state, problem) => {
    const [held, taken] = [anOrder(), await shop.paid()];
    await shop.authorize(held);
    for (const order of [held, taken]) {
      if (state === undefined) shop.orders.delete(order.orderId);
      else shop.orders.set(order.orderId, state);
      await due(order);
    }
    await checkOrders(checks);
    expect([await problemOf(held), await problemOf(taken)]).toEqual([problem, problem]);
    expect(told).toHaveLength(problem === "" ? 0 : 2);
    // Told once, and taken back when it is right again.
    for (const order of [held, taken]) await due(order);
    await checkOrders(checks);
    expect(told).toHaveLength(problem === "" ? 0 : 2);
    for (const order of [held, taken]) {
      shop.orders.set(order.orderId, OrderState.CONFIRMED);
      await due(order);
    }
    await checkOrders(checks);
    expect([await problemOf(held), await problemOf(taken)]).toEqual(["", ""]);
  });

  test("what went back is not missed; a flag ends with the money", async () => {
    const [voided, refunded, flagged] = [anOrder(), await shop.paid(), await shop.paid()];
    await shop.authorize(voided);
    for (const { orderId } of [voided, refunded, flagged]) shop.orders.set(orderId, OrderState.CANCELLED);
    await shop.refund(refunded, 1290n);
    for (const order of [voided, refunded, flagged]) await due(order);
    await checkOrders(checks);
    expect(await Promise.all([voided, refunded, flagged].map(problemOf))).toEqual([
      "PAID_WITHOUT_ORDER",
      "",
      "PAID_WITHOUT_ORDER",
    ]);
    await shop.client.voidPayment(voided);
    await shop.refund(flagged, 1290n);
    expect(await Promise.all([voided, flagged].map(problemOf))).toEqual(["", ""]);
    await shop.settled();
  });

  test("a new payment, whose order may be at work, is left alone for two minutes", async () => {
    const order = await shop.paid();
    shop.orders.delete(order.orderId);
    await checkOrders(checks);
    expect(await problemOf(order)).toBe("");
    const { rows } = await sql<{ soon: boolean }>`
      select check_at between clock_timestamp() + interval '100 s' and clock_timestamp() + interval '121 s' as soon
      from payments where order_id = ${order.orderId}
    `.execute(shop.db);
    expect(rows).toEqual([{ soon: true }]);
  });

  test("payments of the provider that nobody here knows are told, each once", async () => {
    await shop.paid();
    const since = new Date(Date.now() - 3_600_000);
    const seen = new Set<string>();
    await checkProvider(checks, since, seen);
    expect(told).toEqual([]);
    const strangers = [newId(), "", "not of ours"].map((paymentId) => shop.provider.add(paymentId).id);
    for (let time = 0; time < 2; time += 1) await checkProvider(checks, since, seen);
    expect(told).toEqual(strangers);
    // More than one page.
    for (let count = 0; count < 250; count += 1) shop.provider.add(newId());
    await checkProvider(checks, since, seen);
    expect(told).toHaveLength(253);
  });
});
