import type { Transaction } from "kysely";
import type { Call } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import type { Money } from "../../platform/money.ts";
import { paymentErrors, wrongState } from "./errors.ts";
import type { Operation, Payment } from "./payment.ts";
import { refundableMinor } from "./payment.ts";
import type { PaymentTables } from "./schema.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { ask, carryOut, waitWhileSent } from "./send-operation.ts";
import { noteOutcome } from "./settle-payment.ts";
import { getLockedPayment, getPayment, getPaymentById, updatePayment } from "./store.ts";
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
  const sending = await transaction(context.db, (trx) => beginRefund(trx, context, wish));
  // failpoint: payment.refund.intended
  if (sending) carryOut(context, sending, sendRefund(context, { ...sending, leasedAt }));
  const refunded = await getRefund(context, wish);
  if (refunded.refund.state !== "PENDING") return refunded;
  await waitWhileSent(context, call, wish.refundId);
  return getRefund(context, wish);
}

/** Writes down that an amount is to be paid back; undefined where that was done before. */
async function beginRefund(trx: Transaction<PaymentTables>, context: SendContext, wish: RefundWish) {
  const { refundId, amount } = wish;
  const before = await getLockedPayment(trx, wish.orderId);
  const known = before.operations.find(({ id }) => id === refundId);
  if (known) {
    const isSame = known.kind === "REFUND" && known.amountMinor === amount.minor && before.currency === amount.currency;
    if (!isSame) throw mismatch(known);
    return undefined;
  }
  if (before.state !== "CAPTURED") throw wrongState(before);
  if (before.currency !== amount.currency) throw mismatch(undefined);
  const refundable = refundableMinor(before);
  if (amount.minor > refundable) {
    throw paymentErrors.REFUND_TOO_LARGE({ metadata: { refundable_minor: String(refundable) } });
  }
  const now = context.clock.now();
  const operation = { id: refundId, paymentId: before.id, kind: "REFUND", amountMinor: amount.minor } as const;
  const { leaseMs } = context.patience;
  const isNew = await insertOperation(trx, { ...operation, reason: wish.reason, leaseMs, now });
  if (!isNew) throw mismatch(undefined);
  const refundingMinor = before.refundingMinor + amount.minor;
  await updatePayment(trx, before, { ...before, refundingMinor, version: before.version + 1, updatedAt: now });
  return { ...operation, tries: 1 };
}

/** Asks the provider, and notes what it answers. */
export async function sendRefund(context: SendContext, sending: Sending): Promise<void> {
  const { db, provider } = context;
  const { currency, providerReference: reference } = await getPaymentById(db, sending.paymentId);
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
