import type { Call } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { Money } from "../../platform/money.ts";
import { paymentErrors } from "./errors.ts";
import type { Payment } from "./payment.ts";
import { operationOf } from "./payment.ts";
import { METHOD_UNKNOWN } from "./provider.ts";
import { noteOutcome } from "./settle-payment.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { ask, carryOut, waitWhileSent } from "./send-operation.ts";
import { findPayment, getPayment, getPaymentById, insertPayment } from "./store.ts";
import { findToken } from "./store-methods.ts";

export interface AuthorizationWish {
  readonly orderId: string;
  readonly userId: string;
  readonly amount: Money;
  /** Empty where none is given. */
  readonly methodToken: string;
  /** Of a saved one; empty where none is given. */
  readonly methodId: string;
}

/**
 * Has the provider hold the amount of an order, once: a repeated call answers the payment as it is by then.
 * @throws AppError CARD_DECLINED, PAYMENT_METHOD_INVALID, PAYMENT_VOIDED, PAYMENT_MISMATCH
 */
export async function authorizePayment(context: SendContext, call: Call, wish: AuthorizationWish): Promise<Payment> {
  // failpoint: payment.authorize.begun
  const known = await findPayment(context.db, wish);
  if (!known) await beginAuthorization(context, wish);
  let payment = known ?? (await getPayment(context.db, wish.orderId));
  checkSame(payment, wish);
  const operation = operationOf(payment, "AUTHORIZE");
  if (operation?.state === "PENDING") {
    await waitWhileSent(context, call, operation.id);
    payment = await getPayment(context.db, wish.orderId);
  }
  if (payment.state === "VOIDED") throw paymentErrors.PAYMENT_VOIDED();
  if (payment.state === "DECLINED") throw declined(payment);
  return payment;
}

/** Records the payment, and begins to send where this call was the first. */
async function beginAuthorization(context: SendContext, wish: AuthorizationWish): Promise<void> {
  const { db, provider, clock, patience } = context;
  const methodToken = await tokenOf(context, wish);
  const leasedAt = performance.now();
  const [id, operationId] = [newId(), newId()];
  const { orderId, userId, amount } = wish;
  const leaseMs = patience.leaseMs;
  const isFirst = await insertPayment(db, {
    id,
    orderId,
    userId,
    amount,
    provider: provider.name,
    methodToken,
    operationId,
    leaseMs,
    now: clock.now(),
  });
  if (!isFirst) return;
  // failpoint: payment.authorize.intended
  const sending = { id: operationId, paymentId: id, kind: "AUTHORIZE", amountMinor: amount.minor, tries: 1 } as const;
  carryOut(context, sending, sendAuthorization(context, { ...sending, leasedAt }));
}

/** Asks the provider, and notes what it answers. */
export async function sendAuthorization(context: SendContext, sending: Sending): Promise<void> {
  const { db, provider, returnUrl } = context;
  const payment = await getPaymentById(db, sending.paymentId);
  const { orderId, currency, amountMinor, methodToken } = payment;
  const outcome = await ask(context, sending, (signal) =>
    provider.authorize(
      {
        key: sending.id,
        paymentId: payment.id,
        orderId,
        amount: { currency, minor: amountMinor },
        methodToken,
        returnUrl: returnUrl(orderId),
      },
      signal,
    ),
  );
  // failpoint: payment.authorize.answered
  await transaction(db, async (trx) => {
    await noteOutcome(trx, context, sending, outcome, true);
    // failpoint: payment.authorize.written
  });
  // failpoint: payment.authorize.noted
}

/** What pays. @throws AppError PAYMENT_METHOD_INVALID */
async function tokenOf({ db, provider }: SendContext, wish: AuthorizationWish): Promise<string> {
  const token =
    wish.methodId === ""
      ? wish.methodToken || provider.defaultToken
      : await findToken(db, wish.methodId, wish.userId, provider.name);
  if (token === undefined) throw paymentErrors.PAYMENT_METHOD_INVALID();
  return token;
}

/** One that was voided before it came has no amount to compare. @throws AppError PAYMENT_VOIDED, PAYMENT_MISMATCH */
function checkSame({ userId, currency, amountMinor }: Payment, { amount }: AuthorizationWish): void {
  if (userId === undefined) throw paymentErrors.PAYMENT_VOIDED();
  if (currency !== amount.currency || amountMinor !== amount.minor) {
    throw paymentErrors.PAYMENT_MISMATCH({
      metadata: { currency_code: currency, amount_minor: String(amountMinor) },
    });
  }
}

function declined({ declineCode }: Payment): Error {
  if (declineCode === METHOD_UNKNOWN) return paymentErrors.PAYMENT_METHOD_INVALID();
  return paymentErrors.CARD_DECLINED({ metadata: { decline_code: declineCode } });
}
