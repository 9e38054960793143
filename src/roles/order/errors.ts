import type { AppError } from "../../platform/errors.ts";
import { defineErrors } from "../../platform/errors.ts";
import type { Order } from "./order.ts";

/** The reasons of this role; `commerce.order.v1.OrderErrorReason` documents each. */
export const orderErrors = defineErrors({
  SKU_UNAVAILABLE: ["failed_precondition", "Some of the items are not on sale."],
  USER_UNAVAILABLE: ["failed_precondition", "There is no such user, or it is deactivated."],
  MIXED_CURRENCY: ["failed_precondition", "The items have prices in more than one currency."],
  PRICE_CHANGED: ["failed_precondition", "The total is not the expected one."],
  REFUND_TOO_LARGE: ["out_of_range", "That is more than what was paid and not paid back."],
  DISCOUNT_TOO_LARGE: ["failed_precondition", "The discounts are more than what they apply to."],
  WRONG_STATE: ["failed_precondition", "The order's state does not allow that."],
});

/** @param cannot for example `cannot be cancelled` */
export function wrongState({ id, state, cancelRequested }: Order, cannot: string): AppError {
  const stands = cancelRequested ? `${state} and to be cancelled` : state;
  return orderErrors.WRONG_STATE({
    message: `An order that is ${stands} ${cannot}.`,
    metadata: { state },
    preconditions: [{ type: "WRONG_STATE", subject: id, description: `The order is ${stands}.` }],
  });
}
