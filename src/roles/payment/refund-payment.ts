import type { Transaction } from "kysely";
import type { Call } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import type { Money } from "../../platform/money.ts";
import { paymentErrors, wrongState } from "./errors.ts";
import type { Operation, Payment } from "./payment.ts";
import { refundableMinor } from "./payment.ts";
import type { PaymentTables } from "./schema.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { ask, carryOut, leaseFor, waitWhileSent } from "./send-operation.ts";
import { noteOutcome } from "./settle-payment.ts";
import { getLockedPayment, getPayment, updatePayment } from "./store.ts";
import { insertOperation } from "./store-operations.ts";

export interface RefundWish {
  readonly orderId: string;
  readonly refundId: string;
  readonly amount: Money;
  readonly reason: string;
}

/** A refund, and the payment that it is of. */
export interface Refunded {
  readonly payment: Payment;
  readonly refund: Operation;
}

/**
 * Pays captured money back, once per refund id: a repeated call answers the refund as it is by then.
 * @throws AppError NOT_FOUND, WRONG_PAYMENT_STATE, PAYMENT_MISMATCH, REFUND_TOO_LARGE
 */
export async function refundPayment(context: SendContext, call: Call, wish: RefundWish): Promise<Refunded> {
  // failpoint: payment.refund.begun
  const leasedAt = performance.now();
  const { before, sending } = await transaction(context.db, (trx) => beginRefund(trx, context, wish));
  // failpoint: payment.refund.intended
  if (sending) carryOut(context, sending, sendRefund(context, { ...sending, leasedAt }, before));
  await waitWhileSent(context, call, wish.refundId);
  return getRefund(context, wish);
}

/** Writes down that an amount is to be paid back; with what this process is to send, where it is. */
async function beginRefund(trx: Transaction<PaymentTables>, context: SendContext, wish: RefundWish) {
  const { refundId, amount } = wish;
  const before = await getLockedPayment(trx, wish.orderId);
  const known = before.operations.find(({ id }) => id === refundId);
  if (known) {
    const isSame = known.kind === "REFUND" && known.amountMinor === amount.minor && before.currency === amount.currency;
    if (!isSame) throw mismatch(known);
    return { before };
  }
  if (before.state !== "CAPTURED") throw wrongState(before);
  if (before.currency !== amount.currency) throw mismatch(undefined);
  const refundable = refundableMinor(before);
  if (amount.minor > refundable) {
    throw paymentErrors.REFUND_TOO_LARGE({ metadata: { refundable_minor: String(refundable) } });
  }
  const now = context.clock.now();
  const sending = { id: refundId, paymentId: before.id, kind: "REFUND", amountMinor: amount.minor, tries: 1 } as const;
  const leaseMs = leaseFor(context, before);
  const isNew = await insertOperation(trx, { ...sending, reason: wish.reason, leaseMs, now });
  if (!isNew) throw mismatch(undefined);
  const refundingMinor = before.refundingMinor + amount.minor;
  await updatePayment(trx, before, { ...before, refundingMinor, version: before.version + 1, updatedAt: now });
  return leaseMs === undefined ? { before } : { before, sending };
}

/** Asks the provider, and notes what it answers. */
export async function sendRefund(
  context: SendContext,
  sending: Sending,
  { currency, providerReference: reference }: Pick<Payment, "currency" | "providerReference">,
): Promise<void> {
  const { db, provider } = context;
  const amount = { currency, minor: sending.amountMinor };
  const outcome = await ask(context, sending, (signal) =>
    provider.refund({ key: sending.id, reference, amount }, signal),
  );
  // failpoint: payment.refund.answered
  await transaction(db, async (trx) => {
    await noteOutcome(trx, context, sending, outcome, true);
    // failpoint: payment.refund.written
  });
  // failpoint: payment.refund.noted
}

async function getRefund({ db }: SendContext, { orderId, refundId }: RefundWish): Promise<Refunded> {
  const payment = await getPayment(db, orderId);
  const refund = payment.operations.find(({ id }) => id === refundId);
  if (!refund) throw new Error(`the refund ${refundId} is gone`);
  return { payment, refund };
}

/** The id is of another payment, or the refund of another amount. */
function mismatch(known: Operation | undefined): Error {
  return paymentErrors.PAYMENT_MISMATCH({
    ...(known && { metadata: { amount_minor: String(known.amountMinor) } }),
  });
}
