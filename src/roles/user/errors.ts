import { defineErrors } from "../../platform/errors.ts";

/** The reasons of `UserErrorReason`. */
export const userErrors = defineErrors({
  EMAIL_TAKEN: ["already_exists", "A user with this email exists."],
  CREDENTIALS_INVALID: ["unauthenticated", "Email and password do not belong together."],
  ADDRESS_BOOK_FULL: ["resource_exhausted", "The address book is full; remove an address first."],
  LAST_ADMIN: ["failed_precondition", "This is the last active admin; make another user an admin first."],
  LINK_INVALID: ["failed_precondition", "This link was used or is too old; ask for another mail."],
  OPENID_LOGIN_INVALID: ["unauthenticated", "This login did not come about; begin it again."],
  LOGIN_LINK_REQUIRED: [
    "failed_precondition",
    "A user with this email exists; log in as that user, and link this login.",
  ],
  EMAIL_UNVERIFIED: [
    "failed_precondition",
    "The provider does not vouch for an email; create an account with a password.",
  ],
  IDENTITY_TAKEN: ["already_exists", "This login opens another account, or the account has one of this provider."],
  LAST_LOGIN: ["failed_precondition", "This is the last way to log in; set a password or link another login first."],
});
