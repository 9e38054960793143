import type { Transaction } from "kysely";
import type { Call } from "../../platform/call.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import { paymentErrors, wrongState } from "./errors.ts";
import type { Payment } from "./payment.ts";
import { decideCapture, operationOf } from "./payment.ts";
import type { PaymentTables } from "./schema.ts";
import type { SendContext, Sending } from "./send-operation.ts";
import { ask, carryOut, waitWhileSent } from "./send-operation.ts";
import { noteOutcome } from "./settle-payment.ts";
import { getLockedPayment, getPayment, getPaymentById } from "./store.ts";
import { insertOperation } from "./store-operations.ts";

/**
 * Takes what is authorized, once: a repeated call answers the payment as it is by then.
 * @throws AppError NOT_FOUND, WRONG_PAYMENT_STATE, CAPTURE_FAILED
 */
export async function capturePayment(context: SendContext, call: Call, orderId: string): Promise<Payment> {
  // failpoint: payment.capture.begun
  const leasedAt = performance.now();
  const sending = await transaction(context.db, (trx) => beginCapture(trx, context, orderId));
  // failpoint: payment.capture.intended
  if (sending) carryOut(context, sending, sendCapture(context, { ...sending, leasedAt }));
  let payment = await getPayment(context.db, orderId);
  const operation = operationOf(payment, "CAPTURE");
  if (operation?.state === "PENDING") {
    await waitWhileSent(context, call, operation.id);
    payment = await getPayment(context.db, orderId);
  }
  if (payment.captureFailure !== "") throw captureFailed(payment);
  return payment;
}

/** Writes down that the amount is to be taken; undefined where that was done before. */
async function beginCapture(trx: Transaction<PaymentTables>, context: SendContext, orderId: string) {
  const payment = await getLockedPayment(trx, orderId);
  switch (decideCapture(payment)) {
    case "failed":
      throw captureFailed(payment);
    case "wrong state":
      throw wrongState(payment);
    case "nothing":
      return undefined;
    case "capture": {
      const { id: paymentId, amountMinor } = payment;
      const operation = { id: newId(), paymentId, kind: "CAPTURE", amountMinor } as const;
      await insertOperation(trx, { ...operation, leaseMs: context.patience.leaseMs, now: context.clock.now() });
      return { ...operation, tries: 1 };
    }
  }
}

/** Asks the provider, and notes what it answers. */
export async function sendCapture(context: SendContext, sending: Sending): Promise<void> {
  const { db, provider } = context;
  const { currency, providerReference: reference } = await getPaymentById(db, sending.paymentId);
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
