import { defineErrors } from "../../platform/errors.ts";

/** The reasons of `ProductErrorReason`. */
export const productErrors = defineErrors({
  SKU_TAKEN: ["already_exists", "This SKU is or was in use."],
  CATEGORY_UNKNOWN: ["failed_precondition", "There is no such category to put it in."],
  SLUG_TAKEN: ["already_exists", "Another category has this slug."],
  CATEGORY_IN_USE: ["failed_precondition", "Products or categories are in this category."],
  CATEGORY_CYCLE: ["failed_precondition", "A category cannot move below itself."],
});
