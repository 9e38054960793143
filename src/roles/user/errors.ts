import { defineErrors } from "../../platform/errors.ts";

/** The reasons of `UserErrorReason`. */
export const userErrors = defineErrors({
  EMAIL_TAKEN: ["already_exists", "A user with this email exists."],
  CREDENTIALS_INVALID: ["unauthenticated", "Email and password do not belong together."],
  ADDRESS_BOOK_FULL: ["resource_exhausted", "The address book is full; remove an address first."],
  LAST_ADMIN: ["failed_precondition", "This is the last active admin; make another user an admin first."],
  LINK_INVALID: ["failed_precondition", "This link was used or is too old; ask for another mail."],
});
