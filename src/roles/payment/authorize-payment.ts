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
import { findPayment, getPayment, insertPayment } from "./store.ts";
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
  const begun = await beginAuthorization(context, wish);
  if (begun.known) checkSame(begun.known, wish);
  if (begun.operationId !== undefined) await waitWhileSent(context, call, begun.operationId);
  const payment = await getPayment(context.db, wish.orderId);
  if (payment.state === "VOIDED") throw paymentErrors.PAYMENT_VOIDED();
  if (payment.state === "DECLINED") throw declined(payment);
  return payment;
}

interface Begun {
  /** The payment that the order had before. */
  readonly known?: Payment;
  /** What is to be waited for; undefined where the outcome is known. */
  readonly operationId: string | undefined;
}

/** Records the payment, and begins to send where this call was the first. @throws AppError PAYMENT_METHOD_INVALID */
async function beginAuthorization(context: SendContext, wish: AuthorizationWish): Promise<Begun> {
  const { db, provider, clock, patience } = context;
  const { orderId, userId, amount } = wish;
  const methodToken = await findMethod(context, wish);
  if (methodToken !== undefined) {
    const leasedAt = performance.now();
    const payment = { id: newId(), orderId, userId, amount, provider: provider.name, methodToken };
    const operationId = newId();
    if (await insertPayment(db, { ...payment, operationId, leaseMs: patience.leaseMs, now: clock.now() })) {
      // failpoint: payment.authorize.intended
      const sending = { id: operationId, paymentId: payment.id, kind: "AUTHORIZE", amountMinor: amount.minor } as const;
      const charge = { ...payment, currency: amount.currency };
      carryOut(context, sending, sendAuthorization(context, { ...sending, tries: 1, leasedAt }, charge));
      return { operationId };
    }
  }
  // A method may have been removed since it was used for this order.
  const known = await findPayment(db, wish);
  if (!known) throw paymentErrors.PAYMENT_METHOD_INVALID();
  const operation = operationOf(known, "AUTHORIZE");
  return { known, operationId: operation?.state === "PENDING" ? operation.id : undefined };
}

/** Asks the provider, and notes what it answers. */
export async function sendAuthorization(
  context: SendContext,
  sending: Sending,
  { orderId, userId = "", currency, methodToken }: Pick<Payment, "orderId" | "userId" | "currency" | "methodToken">,
): Promise<void> {
  const { db, provider, returnUrl } = context;
  const { id: key, paymentId, amountMinor: minor } = sending;
  const request = {
    key,
    paymentId,
    orderId,
    amount: { currency, minor },
    methodToken,
    userId,
    returnUrl: returnUrl(orderId),
  };
  const outcome = await ask(context, sending, (signal) => provider.authorize(request, signal));
  // failpoint: payment.authorize.answered
  await transaction(db, async (trx) => {
    await noteOutcome(trx, context, sending, outcome, true);
    // failpoint: payment.authorize.written
  });
  // failpoint: payment.authorize.noted
}

/** What pays; undefined where there is no such thing. */
async function findMethod({ db, provider }: SendContext, wish: AuthorizationWish): Promise<string | undefined> {
  if (wish.methodId === "") return wish.methodToken || provider.defaultToken;
  return findToken(db, wish.methodId, wish.userId, provider.name);
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
