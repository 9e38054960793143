import { expect, test } from "vitest";
import { PaymentState } from "#gen/commerce/payment/v1/payment_pb.ts";
import { newId } from "../../src/platform/id.ts";
import type { Fault } from "../support/payment-provider.ts";
import type { Buying, PaymentClient, PaymentTest } from "../support/payment.ts";
import { anOrder, checkBooks, euros, startPaymentTest } from "../support/payment.ts";
import { PeerError } from "../../src/platform/errors.ts";

const ORDERS = 24;
const CALLS = 240;

/** The same sequence for the same seed; mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const faults: readonly Fault[] = [
  "error before",
  "error after",
  "silence before",
  "silence after",
  "cut after",
  "garbage after",
  { refuse: "refused" },
  { refuse: "slow_down", status: 429 },
];

const allowed = new Set([
  "CARD_DECLINED",
  "PAYMENT_VOIDED",
  "PAYMENT_MISMATCH",
  "WRONG_PAYMENT_STATE",
  "CAPTURE_FAILED",
  "REFUND_TOO_LARGE",
  "NOT_FOUND",
]);

test.each([process.env["SEED"] ?? "1", "2", "3"])(
  "any calls with any faults leave the books right: seed %s",
  async (seed) => {
    await using shop = await startPaymentTest();
    const random = randomOf(Number(seed));
    const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;
    const clients = [shop.client, await shop.replica()];
    const orders = Array.from({ length: ORDERS }, () => ({ ...anOrder(), refunds: [newId(), newId(), newId()] }));
    const luck = randomOf(Number(seed) + 1_000);
    shop.provider.choose = () => (luck() < 0.35 ? faults[Math.floor(luck() * faults.length)] : undefined);

    const captured = new Set<string>();
    const voided = new Set<string>();
    const reasons = new Set<string>();
    let running: Promise<void>[] = [];
    for (let call = 0; call < CALLS; call += 1) {
      const order = pick(orders);
      running.push(
        step(shop, pick(clients), order, random(), pick(order.refunds)).then(
          (state) => {
            if (state === PaymentState.CAPTURED) captured.add(order.orderId);
            if (state === PaymentState.VOIDED) voided.add(order.orderId);
          },
          (error: unknown) => {
            if (!(error instanceof PeerError)) throw error;
            reasons.add(error.error.reason);
          },
        ),
      );
      if (running.length === 16) {
        await Promise.all(running);
        running = [];
      }
    }
    await Promise.all(running);
    shop.provider.choose = undefined;
    // What is voided before it is known whether it is held is looked up until its key is dead.
    for (const { orderId } of orders) if (voided.has(orderId)) await shop.age({ orderId, userId: "" }, 25);
    await shop.settled();

    await checkBooks(shop);
    expect([...reasons].filter((reason) => !allowed.has(reason))).toEqual([]);
    // What was answered stays so: what was voided is never captured, and the other way round.
    expect([...captured].filter((id) => voided.has(id))).toEqual([]);
    const { CAPTURED, VOIDED } = PaymentState;
    expect(await statesOf(shop, captured)).toEqual(new Set([CAPTURED]));
    expect(await statesOf(shop, voided)).toEqual(new Set([VOIDED]));
  },
  90_000,
);

/** One call, or a webhook; answers the state that it was told. */
async function step(
  shop: PaymentTest,
  client: PaymentClient,
  order: Buying,
  dice: number,
  refundId: string,
): Promise<PaymentState | undefined> {
  const { orderId } = order;
  if (dice < 0.35) {
    const token = dice < 0.02 ? "tok_declined" : "tok_approved";
    await client.authorizePayment({ ...order, amount: euros(1000n), paymentMethodToken: token });
    return undefined;
  }
  if (dice < 0.6) return (await client.capturePayment({ orderId })).payment?.state;
  if (dice < 0.7) return (await client.voidPayment({ orderId })).payment?.state;
  if (dice < 0.9) {
    await client.refundPayment({ orderId, refundId, amount: euros(400n) });
    return undefined;
  }
  const { id } = await shop.get(order);
  await shop.webhook({ id: newId(), type: "payment.captured", payment_id: id, occurred_at: "" });
  return undefined;
}

async function statesOf(shop: PaymentTest, orderIds: Iterable<string>): Promise<Set<PaymentState>> {
  const payments = await Promise.all([...orderIds].map((orderId) => shop.get({ orderId, userId: "" })));
  return new Set(payments.map(({ state }) => state));
}
