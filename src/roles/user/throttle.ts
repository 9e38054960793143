import { createHash } from "node:crypto";
import { clientNetworkOf } from "../../platform/client-address.ts";

/** A token bucket: so many attempts at once, then one each interval. */
export interface Limit {
  readonly burst: number;
  readonly intervalMs: number;
  /** Of what, and how much, for the QuotaFailure of a refusal. */
  readonly subject: string;
  readonly description: string;
}

export const ACCOUNT_LIMIT: Limit = {
  burst: 10,
  intervalMs: 30_000,
  subject: "logins of this account",
  description: "10 attempts, then one each 30 seconds.",
};

export const ADDRESS_LIMIT: Limit = {
  burst: 50,
  intervalMs: 1_000,
  subject: "logins from this address",
  description: "50 attempts, then one each second.",
};

export const PASSWORD_LIMIT: Limit = {
  ...ACCOUNT_LIMIT,
  subject: "changes of this password",
};

/** Mails to one account: somebody who is stuck asks twice, somebody who annoys does not get further. */
export const RESET_LIMIT: Limit = {
  burst: 5,
  intervalMs: 300_000,
  subject: "new passwords for this account",
  description: "5 requests, then one each 5 minutes.",
};

export const RESET_ADDRESS_LIMIT: Limit = {
  burst: 20,
  intervalMs: 10_000,
  subject: "requests for new passwords from this address",
  description: "20 requests, then one each 10 seconds.",
};

/** Another email has a mail sent to it, whoever it belongs to, and tells whether it is taken. */
export const EMAIL_LIMIT: Limit = {
  burst: 5,
  intervalMs: 300_000,
  subject: "changes of this account's email",
  description: "5 changes, then one each 5 minutes.",
};

/** Milliseconds until an empty bucket that is full at `fullAt` has an attempt again. */
export function waitOf(limit: Limit, fullAt: Date, now: Date): number {
  return Math.max(1, fullAt.getTime() - now.getTime() - (limit.burst - 1) * limit.intervalMs);
}

/** The bucket of an account, by the email that was sent, whether there is such an account or not. */
export function accountKey(email: string): Buffer {
  return keyOf("account", email.toLowerCase());
}

/** The bucket of a client's address; all addresses of an IPv6 /64 share one, since one client has them all. */
export function addressKey(address: string): Buffer {
  return keyOf("address", clientNetworkOf(address));
}

/** The bucket of the current passwords that are tried by somebody who is logged in. */
export function passwordKey(userId: string): Buffer {
  return keyOf("password", userId);
}

/** The bucket of the mails for a new password to an email, whether there is such an account or not. */
export function resetKey(email: string): Buffer {
  return keyOf("reset", email.toLowerCase());
}

/** The bucket of a client that asks for such mails. */
export function resetAddressKey(address: string): Buffer {
  return keyOf("reset address", clientNetworkOf(address));
}

/** The bucket of the emails that a user takes. */
export function emailKey(userId: string): Buffer {
  return keyOf("email", userId);
}

function keyOf(kind: string, what: string): Buffer {
  return createHash("sha256").update(`${kind}\0${what}`).digest();
}
