import { defineErrors } from "../../platform/errors.ts";

/** The reasons of this role; `commerce.order.v1.OrderErrorReason` documents each. */
export const orderErrors = defineErrors({
  SKU_UNAVAILABLE: ["failed_precondition", "Some of the items are not on sale."],
  USER_UNAVAILABLE: ["failed_precondition", "There is no such user, or it is deactivated."],
  MIXED_CURRENCY: ["failed_precondition", "The items have prices in more than one currency."],
  PRICE_CHANGED: ["failed_precondition", "The total is not the expected one."],
  WRONG_STATE: ["failed_precondition", "The order's state does not allow that."],
});
