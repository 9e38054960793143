import { defineErrors } from "../../platform/errors.ts";

/** The reasons of `InventoryErrorReason`. */
export const inventoryErrors = defineErrors({
  OUT_OF_STOCK: ["failed_precondition", "There is not enough of a SKU."],
  STOCK_RESERVED: ["failed_precondition", "Less would be left than orders hold."],
  STOCK_CHANGED: ["aborted", "Another number is on hand than was expected."],
  LOCATION_UNKNOWN: ["failed_precondition", "There is no such location."],
  LOCATION_TAKEN: ["already_exists", "There is a location with this code."],
  RESERVATION_RELEASED: ["failed_precondition", "The reservation was released; its order takes nothing any more."],
  RESERVATION_MISMATCH: ["failed_precondition", "The order has reserved something else."],
  RETURN_TOO_LARGE: ["out_of_range", "The order has not taken so many, or has returned them."],
});
