import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { MailTokenPurpose as PurposeMessage } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import type { MailTokenPurpose } from "./mail-token.ts";
import type { PasswordResets } from "./request-password-reset.ts";
import type { MailTokenContext } from "./reset-password.ts";
import { addressMail, confirmEmail, requestConfirmation, resetPassword } from "./reset-password.ts";
import { ADDRESS_HEADER, callingUser } from "./rpc-messages.ts";

export interface MailRpcOptions extends MailTokenContext {
  readonly resets: Pick<PasswordResets, "request">;
}

type MailMethods =
  | "requestPasswordReset"
  | "resetPassword"
  | "requestEmailConfirmation"
  | "confirmEmail"
  | "getMailRecipient";

const purposes: Readonly<Record<PurposeMessage, MailTokenPurpose | undefined>> = {
  [PurposeMessage.UNSPECIFIED]: undefined,
  [PurposeMessage.PASSWORD_RESET]: "password reset",
  [PurposeMessage.EMAIL_CONFIRMATION]: "email confirmation",
};

/** The methods of AuthService that a mail with a link is between. */
export function createMailRpc(options: MailRpcOptions): Pick<Handlers<typeof AuthService>, MailMethods> {
  return {
    async requestPasswordReset({ email }, call) {
      await options.resets.request(email, call.header(ADDRESS_HEADER));
      return {};
    },

    async resetPassword({ token, newPassword }, { signal }) {
      await resetPassword(options, token, newPassword, signal);
      return {};
    },

    async requestEmailConfirmation(_request, { subject }) {
      await requestConfirmation(options, callingUser(subject).id);
      return {};
    },

    async confirmEmail({ token }) {
      await confirmEmail(options, token);
      return {};
    },

    async getMailRecipient({ userId, purpose }) {
      const { user, link } = await addressMail(options, userId.toLowerCase(), purposes[purpose]);
      return {
        email: user.email,
        displayName: user.display_name,
        locale: user.locale,
        active: user.state === "active",
        emailConfirmed: user.email_confirmed_at !== null,
        ...(link && { token: link.token, tokenExpiresAt: timestampFromDate(link.expiresAt) }),
      };
    },
  };
}
