import { defineErrors } from "../../platform/errors.ts";

/** The reasons of `UserErrorReason`. */
export const userErrors = defineErrors({
  EMAIL_TAKEN: ["already_exists", "A user with this email exists."],
});
