import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { newId } from "../../src/platform/id.ts";
import { until } from "../support/conditions.ts";
import type { Buying, PaymentClient, PaymentTest } from "../support/payment.ts";
import { anOrder, checkBooks, euros, operationsOf, startPaymentTest } from "../support/payment.ts";
import { settled } from "../support/role.ts";

let shop: PaymentTest;
let clients: readonly PaymentClient[];
beforeAll(async () => {
  shop = await startPaymentTest();
  clients = [shop.client, await shop.replica()];
});
afterAll(() => shop[Symbol.asyncDispose]());
afterEach(async () => {
  await shop.settled();
  await checkBooks(shop);
});

/** Twenty calls at once, by turns of two instances. */
function twenty<T>(call: (client: PaymentClient, at: number) => Promise<T>) {
  return settled(Array.from({ length: 20 }, (_, at) => call(clients[at % 2] ?? shop.client, at)));
}

const authorize = (client: PaymentClient, order: Buying) =>
  client.authorizePayment({ ...order, amount: euros(1290n), paymentMethodToken: "tok_approved" });

const callsOf = ({ orderId }: Buying) => {
  const ids = new Set(
    [...shop.provider.payments.values()].filter((one) => one.orderId === orderId).map(({ paymentId }) => paymentId),
  );
  return shop.provider.journal.filter(({ paymentId }) => ids.has(paymentId)).map(({ kind }) => kind);
};

/** Promises that a test fulfils. */
function gate() {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  return {
    promise,
    open: () => {
      resolve(undefined);
    },
  };
}

describe("twenty at once over two instances", () => {
  test("authorize once, and all hear of it", async () => {
    const order = anOrder();
    const { answers, reasons } = await twenty((client) => authorize(client, order));
    expect(reasons).toEqual([]);
    expect(new Set(answers.map(({ payment }) => payment?.state))).toEqual(new Set([PaymentState.AUTHORIZED]));
    expect(new Set(answers.map(({ payment }) => payment?.id)).size).toBe(1);
    expect(callsOf(order)).toEqual(["authorization"]);
    expect(shop.provider.received.filter(({ body }) => body["order_id"] === order.orderId)).toHaveLength(1);
  });

  test("capture once", async () => {
    const order = anOrder();
    await authorize(shop.client, order);
    const { answers, reasons } = await twenty((client) => client.capturePayment(order));
    expect(reasons).toEqual([]);
    expect(new Set(answers.map(({ payment }) => payment?.state))).toEqual(new Set([PaymentState.CAPTURED]));
    expect(callsOf(order)).toEqual(["authorization", "capture"]);
  });

  test("void once", async () => {
    const order = anOrder();
    await authorize(shop.client, order);
    const { reasons } = await twenty((client) => client.voidPayment(order));
    expect(reasons).toEqual([]);
    await shop.settled();
    expect(callsOf(order)).toEqual(["authorization", "void"]);
  });

  test("refund once", async () => {
    const order = await shop.paid();
    const request = { orderId: order.orderId, refundId: newId(), amount: euros(500n) };
    const { answers, reasons } = await twenty((client) => client.refundPayment(request));
    expect(reasons).toEqual([]);
    expect(new Set(answers.map(({ refund }) => refund?.state))).toEqual(new Set([RefundState.SUCCEEDED]));
    expect(callsOf(order)).toEqual(["authorization", "capture", "refund"]);
    expect(await shop.get(order)).toMatchObject({ refundedAmount: euros(500n) });
  });

  test("refunds of their own never pay back more than was captured", async () => {
    const order = await shop.paid(1000n);
    const { answers, reasons } = await twenty((client) =>
      client.refundPayment({ orderId: order.orderId, refundId: newId(), amount: euros(150n) }),
    );
    expect(answers).toHaveLength(6);
    expect(new Set(reasons)).toEqual(new Set(["REFUND_TOO_LARGE"]));
    expect(await shop.get(order)).toMatchObject({ refundedAmount: euros(900n) });
  });

  test("also while refunds are pending at the provider", async () => {
    const order = await shop.paid(1000n);
    shop.provider.plan(order.orderId, "refund", ...Array.from({ length: 20 }, () => ({ state: "pending" }) as const));
    const { answers } = await twenty((client) =>
      client.refundPayment({ orderId: order.orderId, refundId: newId(), amount: euros(300n) }),
    );
    expect(answers.map(({ refund }) => refund?.state)).toEqual([1, 1, 1]);
    const refunds = shop.provider.byPaymentId(order.payment.id)?.refunds ?? [];
    for (const refund of refunds) refund.state = "succeeded";
    await shop.webhook({ id: newId(), type: "payment.refunded", payment_id: order.payment.id, occurred_at: "" });
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ refundedAmount: euros(900n) });
  });

  test("one of two amounts is authorized", async () => {
    const order = anOrder();
    const { answers, reasons } = await twenty((client, at) =>
      client.authorizePayment({ ...order, amount: euros(at < 10 ? 100n : 200n), paymentMethodToken: "tok_approved" }),
    );
    expect(answers).toHaveLength(10);
    expect(new Set(reasons)).toEqual(new Set(["PAYMENT_MISMATCH"]));
    expect(callsOf(order)).toEqual(["authorization"]);
  });
});

describe("a void", () => {
  test("that comes before the authorization refuses it", async () => {
    const order = anOrder();
    const { payment } = await shop.client.voidPayment(order);
    expect(payment).toMatchObject({ state: PaymentState.VOIDED, userId: "" });
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.VOIDED);
    const { reasons } = await twenty((client) => authorize(client, order));
    expect(new Set(reasons)).toEqual(new Set(["PAYMENT_VOIDED"]));
    expect(callsOf(order)).toEqual([]);
  });

  test("raced with the authorization leaves nothing held, whoever wins", async () => {
    for (let round = 0; round < 10; round += 1) {
      const order = anOrder();
      const { answers, reasons } = await settled<unknown>([
        authorize(clients[round % 2] ?? shop.client, order),
        clients[(round + 1) % 2]?.voidPayment(order) ?? shop.client.voidPayment(order),
      ]);
      expect(answers.length + reasons.length).toBe(2);
      expect(reasons.filter((reason) => reason !== "PAYMENT_VOIDED")).toEqual([]);
      await shop.settled();
      expect(await shop.get(order)).toMatchObject({ state: PaymentState.VOIDED });
      expect(["", "authorization,void"]).toContain(callsOf(order).join());
    }
  });

  test("while the provider is at the authorization: what it then holds is given back", async () => {
    const order = anOrder();
    const slow = gate();
    shop.provider.plan(order.orderId, "authorize", { after: slow.promise });
    const call = settled([authorize(shop.client, order)]);
    await until(() => shop.provider.received.some(({ body }) => body["order_id"] === order.orderId));
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.VOIDED);
    slow.open();
    expect((await call).reasons).toEqual(["PAYMENT_VOIDED"]);
    await shop.settled();
    expect(callsOf(order)).toEqual(["authorization", "void"]);
    expect(await operationsOf(shop, order)).toEqual(["AUTHORIZE SUCCEEDED", "VOID SUCCEEDED"]);
  });

  test("while the outcome is not known: it is looked up, and what is held is given back", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", "error after");
    const { payment } = await authorize(shop.client, order);
    expect(payment?.state).toBe(PaymentState.PENDING);
    await shop.client.voidPayment(order);
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.VOIDED });
    expect(callsOf(order)).toEqual(["authorization", "void"]);
  });

  test("while an authorization without effect is not known: it is never sent again", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", "error before");
    await authorize(shop.client, order);
    await shop.client.voidPayment(order);
    const looks = shop.provider.looks;
    await until(() => shop.provider.looks >= looks + 3);
    expect(callsOf(order)).toEqual([]);
    expect(await operationsOf(shop, order)).toEqual(["AUTHORIZE PENDING"]);
    // Its key is forgotten at last.
    await shop.age(order, 25);
    await shop.settled();
    expect(await operationsOf(shop, order)).toEqual(["AUTHORIZE FAILED expired"]);
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.VOIDED });
  });

  test("raced with the capture: one of them wins, at the provider too", async () => {
    const won = { capture: 0, void: 0 };
    // On, until each has won: who is the first to lock the payment is the machine's to say.
    for (let round = 0; round < 16 || (Math.min(won.capture, won.void) === 0 && round < 400); round += 1) {
      const order = anOrder();
      await authorize(shop.client, order);
      const [first, second] = round % 2 === 0 ? clients : [...clients].reverse();
      const { answers, reasons } = await settled<unknown>(
        round % 4 < 2
          ? [first?.capturePayment(order) ?? Promise.resolve(), second?.voidPayment(order) ?? Promise.resolve()]
          : [first?.voidPayment(order) ?? Promise.resolve(), second?.capturePayment(order) ?? Promise.resolve()],
      );
      expect(answers).toHaveLength(1);
      expect(reasons).toEqual(["WRONG_PAYMENT_STATE"]);
      await shop.settled();
      const { state } = await shop.get(order);
      const winner = state === PaymentState.CAPTURED ? "capture" : "void";
      won[winner] += 1;
      expect(callsOf(order)).toEqual(["authorization", winner]);
    }
    expect(won.capture).toBeGreaterThan(0);
    expect(won.void).toBeGreaterThan(0);
  });

  test("of a payment whose capture is not known is refused", async () => {
    const order = anOrder();
    await authorize(shop.client, order);
    shop.provider.plan(order.orderId, "capture", "error after");
    const { payment } = await shop.client.capturePayment(order);
    expect(payment).toMatchObject({ state: PaymentState.AUTHORIZED, capturePending: true });
    expect((await settled([shop.client.voidPayment(order)])).reasons).toEqual(["WRONG_PAYMENT_STATE"]);
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.CAPTURED, capturePending: false });
  });
});

describe("the call's own time", () => {
  test("a call that has little of it answers what is known, and the work goes on", async () => {
    const order = anOrder();
    const slow = gate();
    shop.provider.plan(order.orderId, "authorize", { answerAfter: slow.promise });
    const request = { ...order, amount: euros(1290n), paymentMethodToken: "tok_approved" };
    const { payment } = await shop.client.authorizePayment(request, { timeoutMs: 700 });
    expect(payment?.state).toBe(PaymentState.PENDING);
    slow.open();
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED });
  });

  test("a caller who goes away ends nothing", async () => {
    const order = anOrder();
    const slow = gate();
    shop.provider.plan(order.orderId, "authorize", { after: slow.promise });
    const leaving = new AbortController();
    const request = { ...order, amount: euros(1290n), paymentMethodToken: "tok_approved" };
    const call = shop.client.authorizePayment(request, { signal: leaving.signal }).catch(() => "gone");
    await until(() => shop.provider.received.some(({ body }) => body["order_id"] === order.orderId));
    leaving.abort();
    expect(await call).toBe("gone");
    slow.open();
    await shop.settled();
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.AUTHORIZED });
    expect(callsOf(order)).toEqual(["authorization"]);
  });
});
