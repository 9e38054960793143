import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import { wrongState } from "./errors.ts";
import type { Payment } from "./payment.ts";
import { decideVoid } from "./payment.ts";
import type { PaymentTables } from "./schema.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { ask } from "./send-operation.ts";
import { announceAll, askToVoid, noteOutcome, withoutOldProblem } from "./settle-payment.ts";
import { getLockedPayment, insertTombstone, updatePayment } from "./store.ts";

/**
 * Has nothing taken for an order any more, from now on; the provider is told afterwards, again and again until it knows.
 * Where it is not known yet whether anything is held, that is looked up first. Doing it again changes nothing.
 * @throws AppError WRONG_PAYMENT_STATE where it is captured, or may be
 */
export async function voidPayment(context: SendContext, orderId: string): Promise<Payment> {
  // failpoint: payment.void.begun
  const payment = await transaction(context.db, (trx) => recordVoid(trx, context, orderId));
  // failpoint: payment.void.intended
  return payment;
}

async function recordVoid(trx: Transaction<PaymentTables>, context: SendContext, orderId: string): Promise<Payment> {
  const now = context.clock.now();
  const tombstone = { id: newId(), orderId, provider: context.provider.name, now };
  if (await insertTombstone(trx, tombstone)) {
    const payment = await getLockedPayment(trx, orderId);
    await announceAll(trx, context, [{ name: "voided" }], payment);
    return payment;
  }
  const before = await getLockedPayment(trx, orderId);
  switch (decideVoid(before)) {
    case "nothing":
      return before;
    case "wrong state":
      throw wrongState(before);
    case "void": {
      const voided = { ...before, state: "VOIDED", redirectUrl: "", version: before.version + 1 } as const;
      const after = withoutOldProblem({ ...voided, updatedAt: now });
      await updatePayment(trx, before, after);
      // Without a reference the outcome of the authorization is not known: what it turns out to hold is given back then.
      if (after.providerReference !== "") await askToVoid(trx, context, after, now);
      await announceAll(trx, context, [{ name: "voided" }], after);
      return after;
    }
  }
}

/** Asks the provider, and notes what it answers. */
export async function sendVoid(
  context: SendContext,
  sending: Sending,
  { providerReference: reference }: Pick<Payment, "providerReference">,
): Promise<void> {
  const { db, provider, log } = context;
  const outcome = await ask(context, sending, (signal) => provider.void({ key: sending.id, reference }, signal));
  if (outcome.kind === "refused") {
    log.warn({ payment: sending.paymentId, code: outcome.refusal.code }, "the provider refused to void a payment");
  }
  // failpoint: payment.void.answered
  await transaction(db, async (trx) => {
    await noteOutcome(trx, context, sending, outcome, true);
    // failpoint: payment.void.written
  });
  // failpoint: payment.void.noted
}
