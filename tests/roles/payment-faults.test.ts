import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { PaymentState, RefundState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { newId } from "../../src/platform/id.ts";
import { until } from "../support/conditions.ts";
import type { Fault, Operation } from "../support/payment-provider.ts";
import type { Buying, PaymentTest } from "../support/payment.ts";
import { anOrder, checkBooks, euros, operationsOf, startPaymentTest } from "../support/payment.ts";
import { present, refusal } from "../support/role.ts";

// Most of the time is waiting for a timeout.
vi.setConfig({ maxConcurrency: 20 });

let shop: PaymentTest;
beforeAll(async () => {
  shop = await startPaymentTest();
  await shop.replica();
});
afterAll(() => shop[Symbol.asyncDispose]());

const operations: readonly Operation[] = ["authorize", "capture", "void", "refund"];

/** Those after which the outcome is not known. */
const faults: readonly (readonly [string, Fault])[] = [
  ["an error before the effect", "error before"],
  ["an error after the effect", "error after"],
  ["no answer, before the effect", "silence before"],
  ["no answer, after the effect", "silence after"],
  ["an answer that is cut", "cut after"],
  ["an answer that makes no sense", "garbage after"],
  ["too many calls", { refuse: "slow_down", status: 429 }],
  ["a key that is in use", { refuse: "key_reused", status: 409 }],
  ["no access", { refuse: "unauthenticated", status: 401 }],
  ["a proxy's error", { refuse: "", status: 404 }],
];

const kinds = { authorize: "AUTHORIZE", capture: "CAPTURE", void: "VOID", refund: "REFUND" } as const;

/** Brings an order to where the operation is asked for, and asks. */
async function reach(order: Buying, operation: Operation): Promise<void> {
  await shop.authorize(order);
  if (operation === "authorize") return;
  // On a busy machine a call may take longer than it is waited for here.
  await settledOf(order);
  if (operation === "void") await shop.client.voidPayment(order);
  else await shop.client.capturePayment(order);
  if (operation !== "refund") return;
  await settledOf(order);
  await shop.refund(order, 290n);
}

/** Resolves when nothing of the order is open. */
const settledOf = (order: Buying) =>
  until(async () => !(await operationsOf(shop, order)).some((said) => said.includes("PENDING")), 25_000);

function effectsOf({ orderId }: Buying): string[] {
  const payment = [...shop.provider.payments.values()].find((one) => one.orderId === orderId);
  return shop.provider.journal.filter(({ paymentId }) => paymentId === payment?.paymentId).map(({ kind }) => kind);
}

const cases = operations.flatMap((operation) => faults.map(([what, fault]) => ({ operation, what, fault })));

describe("an outcome that is not known is settled, with one effect", () => {
  test.concurrent.each(cases)("$operation: $what", async ({ operation, fault }) => {
    const order = anOrder();
    shop.provider.plan(order.orderId, operation, fault);
    await reach(order, operation);
    await settledOf(order);
    const effects = effectsOf(order);
    expect(effects.filter((kind) => kind === (operation === "authorize" ? "authorization" : operation))).toHaveLength(
      1,
    );
    expect((await operationsOf(shop, order)).at(-1)).toBe(`${kinds[operation]} SUCCEEDED`);
    const payment = await shop.get(order);
    const states = { authorize: "AUTHORIZED", capture: "CAPTURED", void: "VOIDED", refund: "CAPTURED" } as const;
    expect(payment).toMatchObject({ state: PaymentState[states[operation]], capturePending: false, problem: "" });
    const refunded = operation === "refund" ? [RefundState.SUCCEEDED] : [];
    expect(payment.refunds.map(({ state }) => state)).toEqual(refunded);
  });

  test.concurrent.each(operations)("%s: three times in a row", async (operation) => {
    const order = anOrder();
    shop.provider.plan(order.orderId, operation, "error before", "silence before", "error after");
    await reach(order, operation);
    await settledOf(order);
    expect((await operationsOf(shop, order)).at(-1)).toBe(`${kinds[operation]} SUCCEEDED`);
  });

  test.concurrent("what is not known is answered as pending, and refused is refused", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", "error after");
    expect(await shop.authorize(order)).toMatchObject({ state: PaymentState.PENDING, providerReference: "" });
    await settledOf(order);
    shop.provider.plan(order.orderId, "capture", "error before");
    expect((await shop.client.capturePayment(order)).payment).toMatchObject({ capturePending: true });
    expect((await shop.client.capturePayment(order)).payment).toMatchObject({ capturePending: true });
    await settledOf(order);
    shop.provider.plan(order.orderId, "refund", "error after");
    const refundId = newId();
    expect(await shop.refund(order, 10n, refundId)).toMatchObject({ state: RefundState.PENDING });
    expect(await shop.refund(order, 10n, refundId)).toMatchObject({ state: RefundState.PENDING });
    await settledOf(order);
    expect(await shop.refund(order, 10n, refundId)).toMatchObject({ state: RefundState.SUCCEEDED });
  });

  test.concurrent("an authorization that is found declined is declined", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", "silence before", { state: "declined", code: "insufficient_funds" });
    expect(await shop.authorize(order)).toMatchObject({ state: PaymentState.PENDING });
    await settledOf(order);
    const error = await refusal(shop.authorize(order));
    expect(error.details.metadata).toEqual({ decline_code: "insufficient_funds" });
  });

  test.concurrent("a void that the provider refuses for now is tried again", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "void", { refuse: "busy" }, { refuse: "busy" });
    await reach(order, "void");
    await settledOf(order);
    expect(effectsOf(order)).toEqual(["authorization", "void"]);
  });

  test.concurrent("a refund that is pending at the provider ends as the provider says", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "refund", { state: "pending" }, { state: "pending" });
    await reach(order, "refund");
    const [good, bad] = [await shop.refund(order, 100n), await shop.get(order)];
    expect(good.state).toBe(RefundState.PENDING);
    const known = present(shop.provider.byPaymentId(bad.id));
    Object.assign(present(known.refunds[0]), { state: "succeeded" });
    Object.assign(present(known.refunds[1]), { state: "failed", failureCode: "account_closed" });
    await settledOf(order);
    const payment = await shop.get(order);
    expect(payment).toMatchObject({
      refundedAmount: euros(290n),
      refunds: [{ state: RefundState.SUCCEEDED }, { state: RefundState.FAILED, failureCode: "account_closed" }],
    });
    shop.provider.forget(bad.id, "refund", 100n);
  });

  test.concurrent("with the provider down for some tries, soon after it is back", async () => {
    const other = await startPaymentTest();
    const order = anOrder();
    await other.authorize(order);
    other.provider.isDown = true;
    await other.client.capturePayment(order);
    await until(async () => (await triesOf(other)) >= 4, 20_000);
    other.provider.isDown = false;
    const backAt = performance.now();
    await other.settled();
    expect(performance.now() - backAt).toBeLessThan(15_000);
    expect(await other.get(order)).toMatchObject({ state: PaymentState.CAPTURED });
    await other[Symbol.asyncDispose]();
  });
});

async function triesOf({ db }: PaymentTest): Promise<number> {
  const rows = await db.selectFrom("payment_operations").select("tries").where("state", "=", "PENDING").execute();
  return rows[0]?.tries ?? 0;
}

describe("a key", () => {
  const sent = (order: Buying, operation: Operation) =>
    shop.provider.received.filter(
      (call) => call.operation === operation && shop.provider.orderOf(call) === order.orderId,
    ).length;

  /** Asks for the operation, which has no effect however often it is sent, and lets its key get old. */
  async function outlive(operation: Operation): Promise<Buying> {
    const order = anOrder();
    shop.provider.plan(order.orderId, operation, ...Array.from({ length: 9 }, (): Fault => "error before"));
    await reach(order, operation);
    await until(() => sent(order, operation) > 0);
    await shop.age(order, 25);
    const before = sent(order, operation);
    await settledOf(order);
    // One may have been on its way when it became old.
    expect(sent(order, operation) - before).toBeLessThanOrEqual(1);
    expect((await operationsOf(shop, order)).at(-1)).toBe(`${kinds[operation]} FAILED expired`);
    shop.provider.plan(order.orderId, operation);
    return order;
  }

  test.concurrent("is not sent past its life: an authorization is declined", async () => {
    const order = await outlive("authorize");
    const error = await refusal(shop.authorize(order));
    expect(error).toMatchObject({ reason: "CARD_DECLINED", details: { metadata: { decline_code: "expired" } } });
  });

  test.concurrent("nor of a capture, which failed", async () => {
    const order = await outlive("capture");
    const error = await refusal(shop.client.capturePayment(order));
    expect(error).toMatchObject({ reason: "CAPTURE_FAILED", details: { metadata: { failure_code: "expired" } } });
    expect((await shop.client.voidPayment(order)).payment?.state).toBe(PaymentState.VOIDED);
  });

  test.concurrent("nor of a void, which a person has to look at", async () => {
    const order = await outlive("void");
    expect(await shop.get(order)).toMatchObject({ state: PaymentState.VOIDED, problem: "VOID_FAILED" });
  });

  test.concurrent("nor of a refund: another one may be asked for", async () => {
    const order = await outlive("refund");
    expect(await shop.refund(order, 1290n)).toMatchObject({ state: RefundState.SUCCEEDED });
  });

  test.concurrent.each(operations)("that is dead settles what had an effect: %s", async (operation) => {
    const order = anOrder();
    shop.provider.plan(order.orderId, operation, "silence after");
    await reach(order, operation);
    await shop.age(order, 25);
    await settledOf(order);
    expect((await operationsOf(shop, order)).at(-1)).toBe(`${kinds[operation]} SUCCEEDED`);
    expect(sent(order, operation)).toBe(1);
  });

  test.concurrent("near its end is only looked up", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "capture", "error before");
    await reach(order, "capture");
    await shop.ageMs(order, 86_400_000 - 1_000);
    const looks = shop.provider.looks;
    await until(() => shop.provider.looks > looks);
    expect(sent(order, "capture")).toBe(1);
    await settledOf(order);
    expect((await operationsOf(shop, order)).at(-1)).toBe("CAPTURE FAILED expired");
  });
});

describe("amounts that differ", () => {
  test.concurrent.each([
    ["less is authorized", "authorize", 1000n, { state: PaymentState.AUTHORIZED, problem: "AMOUNT_MISMATCH" }],
    ["more is authorized", "authorize", 2000n, { state: PaymentState.AUTHORIZED, problem: "AMOUNT_MISMATCH" }],
    ["less is captured", "capture", 1000n, { capturedAmount: euros(1000n), problem: "AMOUNT_MISMATCH" }],
    ["less is refunded", "refund", 190n, { refundedAmount: euros(190n), problem: "AMOUNT_MISMATCH" }],
  ] as const)("%s", async (_what, operation, moves, expected) => {
    const order = anOrder();
    shop.provider.plan(order.orderId, operation, { moves });
    await reach(order, operation);
    expect(await shop.get(order)).toMatchObject(expected);
  });

  test.concurrent("one that is authorized for less is not captured", async () => {
    const order = anOrder();
    shop.provider.plan(order.orderId, "authorize", { moves: 1289n });
    await shop.authorize(order);
    const error = await refusal(shop.client.capturePayment(order));
    expect(error).toMatchObject({
      reason: "CAPTURE_FAILED",
      details: { metadata: { failure_code: "amount_mismatch" } },
    });
    await shop.client.voidPayment(order);
    await settledOf(order);
    expect(effectsOf(order)).toEqual(["authorization", "void"]);
  });
});

test("in the end the books agree with the provider's", async () => {
  await shop.settled();
  await expect(checkBooks(shop)).resolves.toBeUndefined();
});
