/** Who somebody is at an OpenID provider, by an ID token that was verified. */
export interface ProvenIdentity {
  /** The provider's name. */
  readonly provider: string;
  readonly issuer: string;
  readonly subject: string;
  /** Only one that the provider vouches for. */
  readonly email: string | undefined;
  /** As the provider has it. */
  readonly name: string;
}

/** What a provider says of somebody, by the names of OpenID Connect Core, 5.1. */
export type Claims = Readonly<Record<string, unknown>>;

const EMAIL_LENGTH = 254;
const NAME_LENGTH = 100;

/** What the HTML standard calls a valid email address; as the constraint of `CreateUserRequest.email`. */
const EMAIL = /^[\w.!#$%&'*+/=?^`{|}~-]+@[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?(?:\.[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?)*$/i;

/** The email that a provider vouches for. Some write `email_verified` as a text. */
export function verifiedEmail(claims: Claims): string | undefined {
  const { email, email_verified: verified } = claims;
  if (typeof email !== "string" || (verified !== true && verified !== "true")) return undefined;
  return email.length <= EMAIL_LENGTH && EMAIL.test(email) ? email : undefined;
}

/** A name that can be shown: without control characters, not too long; empty where there is none. */
export function shownName(claims: Claims): string {
  const { name } = claims;
  if (typeof name !== "string") return "";
  const shown = name
    .toWellFormed()
    .replaceAll(/\p{Cc}/gu, "")
    .trim();
  return Array.from(shown).slice(0, NAME_LENGTH).join("").trim();
}
