import type { ColumnType, GeneratedAlways } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { Address } from "./address.ts";
import type { UserRole } from "./permission.ts";

export type UserState = "active" | "deactivated";

export interface Users {
  id: string;
  /** As it was given; `users_email_key` makes it unique in lower case. */
  email: string;
  display_name: string;
  state: UserState;
  /** In alphabetical order, each once. */
  roles: UserRole[];
  version: number;
  created_at: Date;
  updated_at: Date;
  /** The language of mails, a BCP 47 tag; empty: the shop's own. */
  locale: string;
  /** When the user showed that mail to the email arrives; null: not yet. */
  email_confirmed_at: Date | null;
}

export interface PasswordResetRequests {
  id: string;
  /** In lower case, whether there is such an account or not. */
  email: string;
  requested_at: Date;
}

export interface Credentials {
  user_id: string;
  /** PHC string; see password.ts. */
  password_hash: string;
  /** Grows with each new password, and not where the same one is hashed anew. */
  version: number;
  changed_at: Date;
}

export interface Sessions {
  id: string;
  user_id: string;
  client: string;
  created_at: Date;
  last_used_at: Date;
  /** When it ends where it is not used. */
  expires_at: Date;
  /** When it was ended; null while it is open. */
  ended_at: Date | null;
}

export interface RefreshTokens {
  /** SHA-256 of the token. */
  hash: Buffer;
  session_id: string;
  issued_at: Date;
  /** When it was exchanged; null for the live one, of which `refresh_tokens_live_key` allows one a session. */
  used_at: Date | null;
}

export interface Revocations {
  position: GeneratedAlways<bigint>;
  session_id: string;
  at: Date;
}

export interface SigningKeys {
  /** UUIDv7, the `kid`. */
  id: string;
  /** The x coordinate of an Ed25519 key, 32 bytes. */
  public_key: Buffer;
  /** Sealed; see signing-key.ts. */
  private_key: Buffer;
  created_at: Date;
  signs_from: Date;
  signs_until: Date;
  valid_until: Date;
}

export interface LoginThrottle {
  /** SHA-256 of what is limited; see throttle.ts. */
  key: Buffer;
  /** When the bucket is full again; one that is full needs no row. */
  full_at: Date;
}

export interface Addresses {
  id: string;
  user_id: string;
  address: ColumnType<Address, string, string>;
  created_at: Date;
  updated_at: Date;
}

export interface ExternalIdentities {
  id: string;
  user_id: string;
  /** The provider's name in the configuration when it was added. */
  provider: string;
  issuer: string;
  /** The user's name at the issuer: `external_identities_issuer_subject_key` has each open one account. */
  subject: string;
  /** That the provider vouched for when it was added; empty where it did for none. */
  email: string;
  created_at: Date;
}

export interface UsedLoginTokens {
  /** SHA-256 of the token; see login-token.ts. */
  hash: Buffer;
  /** When the token is good no more, used or not. */
  expires_at: Date;
}

export interface UserTables extends WithIdempotencyKeys {
  users: Users;
  credentials: Credentials;
  sessions: Sessions;
  refresh_tokens: RefreshTokens;
  revocations: Revocations;
  signing_keys: SigningKeys;
  login_throttle: LoginThrottle;
  addresses: Addresses;
  password_reset_requests: PasswordResetRequests;
  external_identities: ExternalIdentities;
  used_login_tokens: UsedLoginTokens;
}
