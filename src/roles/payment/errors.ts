import { defineErrors } from "../../platform/errors.ts";
import type { Payment } from "./payment.ts";

/** The reasons of this role; `commerce.payment.v1.PaymentErrorReason` documents each. */
export const paymentErrors = defineErrors({
  CARD_DECLINED: ["failed_precondition", "The payment was declined."],
  PAYMENT_METHOD_INVALID: ["failed_precondition", "There is no such payment method."],
  PAYMENT_VOIDED: ["failed_precondition", "The payment was voided; nothing is taken any more."],
  PAYMENT_MISMATCH: ["failed_precondition", "Another amount was asked for before."],
  WRONG_PAYMENT_STATE: ["failed_precondition", "The payment's state does not allow that."],
  CAPTURE_FAILED: ["failed_precondition", "The provider did not take the amount."],
  REFUND_TOO_LARGE: ["out_of_range", "This is more than what was captured and not paid back."],
});

/** What was asked for does not go with where the payment stands. */
export function wrongState({ orderId, state }: Pick<Payment, "orderId" | "state">): Error {
  return paymentErrors.WRONG_PAYMENT_STATE({
    message: `A payment that is ${state} does not allow that.`,
    metadata: { state },
    preconditions: [{ type: "WRONG_PAYMENT_STATE", subject: orderId, description: `The payment is ${state}.` }],
  });
}
