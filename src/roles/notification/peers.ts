import { AuthService, MailTokenPurpose } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Peers } from "../../platform/clients/clients.ts";
import { PeerError } from "../../platform/errors.ts";
import type { LinkPurpose } from "./delivery.ts";

/** Milliseconds that the answer may take. */
const ANSWER_MS = 5_000;

/** To whom a mail goes. */
export interface Recipient {
  readonly email: string;
  readonly displayName: string;
  /** A BCP 47 tag; empty where it is not known. */
  readonly locale: string;
  readonly active: boolean;
  readonly emailConfirmed: boolean;
  /** For the mail's link; empty where none was asked for, and for who is not active. */
  readonly token: string;
}

/** What sending needs of the user role. */
export interface RecipientPeer {
  /** Undefined where there is no such user. @throws PeerError */
  findRecipient(userId: string, link: LinkPurpose | undefined, signal: AbortSignal): Promise<Recipient | undefined>;
}

const purposes: Readonly<Record<LinkPurpose, MailTokenPurpose>> = {
  "confirm email": MailTokenPurpose.EMAIL_CONFIRMATION,
  "reset password": MailTokenPurpose.PASSWORD_RESET,
};

export function recipientPeer(peers: Peers): RecipientPeer {
  const auth = peers.client(AuthService);
  return {
    async findRecipient(userId, link, signal) {
      const purpose = link === undefined ? MailTokenPurpose.UNSPECIFIED : purposes[link];
      try {
        return await auth.getMailRecipient({ userId, purpose }, { timeoutMs: ANSWER_MS, signal });
      } catch (error) {
        if (error instanceof PeerError && error.error.reason === "NOT_FOUND") return undefined;
        throw error;
      }
    },
  };
}
