import type { Transaction } from "kysely";
import type { Call } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import { paymentErrors, wrongState } from "./errors.ts";
import type { Payment } from "./payment.ts";
import { decideCapture, operationOf } from "./payment.ts";
import type { PaymentTables } from "./schema.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { ask, carryOut, leaseFor, waitWhileSent } from "./send-operation.ts";
import { noteOutcome } from "./settle-payment.ts";
import { getLockedPayment, getPayment } from "./store.ts";
import { insertOperation } from "./store-operations.ts";

/**
 * Takes what is authorized, once: a repeated call answers the payment as it is by then.
 * @throws AppError NOT_FOUND, WRONG_PAYMENT_STATE, CAPTURE_FAILED
 */
export async function capturePayment(context: SendContext, call: Call, orderId: string): Promise<Payment> {
  // failpoint: payment.capture.begun
  const leasedAt = performance.now();
  const { before, sending } = await transaction(context.db, (trx) => beginCapture(trx, context, orderId));
  // failpoint: payment.capture.intended
  if (sending) carryOut(context, sending, sendCapture(context, { ...sending, leasedAt }, before));
  const operationId = sending?.id ?? operationOf(before, "CAPTURE")?.id;
  if (operationId !== undefined) await waitWhileSent(context, call, operationId);
  const payment = await getPayment(context.db, orderId);
  if (payment.captureFailure !== "") throw captureFailed(payment);
  return payment;
}

/** Writes down that the amount is to be taken; with what this process is to send, where it is. */
async function beginCapture(trx: Transaction<PaymentTables>, context: SendContext, orderId: string) {
  const before = await getLockedPayment(trx, orderId);
  switch (decideCapture(before)) {
    case "failed":
      throw captureFailed(before);
    case "wrong state":
      throw wrongState(before);
    case "nothing":
      return { before };
    case "capture": {
      const { id: paymentId, amountMinor } = before;
      const sending = { id: newId(), paymentId, kind: "CAPTURE", amountMinor, tries: 1 } as const;
      const leaseMs = leaseFor(context, before);
      await insertOperation(trx, { ...sending, leaseMs, now: context.clock.now() });
      return leaseMs === undefined ? { before } : { before, sending };
    }
  }
}

/** Asks the provider, and notes what it answers. */
export async function sendCapture(
  context: SendContext,
  sending: Sending,
  { currency, providerReference: reference }: Pick<Payment, "currency" | "providerReference">,
): Promise<void> {
  const { db, provider } = context;
  const amount = { currency, minor: sending.amountMinor };
  const outcome = await ask(context, sending, (signal) =>
    provider.capture({ key: sending.id, reference, amount }, signal),
  );
  // failpoint: payment.capture.answered
  await transaction(db, async (trx) => {
    await noteOutcome(trx, context, sending, outcome, true);
    // failpoint: payment.capture.written
  });
  // failpoint: payment.capture.noted
}

function captureFailed({ captureFailure }: Payment): Error {
  return paymentErrors.CAPTURE_FAILED({ metadata: { failure_code: captureFailure } });
}
