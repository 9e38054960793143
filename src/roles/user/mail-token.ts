import { createHmac, timingSafeEqual } from "node:crypto";

/** What the token of a mail's link lets its holder do. */
export type MailTokenPurpose = "password reset" | "email confirmation";

/** Milliseconds that a token is good for. */
const LIFETIME_MS: Readonly<Record<MailTokenPurpose, number>> = {
  "password reset": 30 * 60_000,
  "email confirmation": 7 * 24 * 3_600_000,
};

const ID_BYTES = 16;
const TIME_BYTES = 6;
const MAC_BYTES = 32;

/**
 * What a token is bound to beside its user. One for a new password dies with the next password, so it serves once; all
 * are good only while the email is the one that they went to.
 */
export interface MailTokenState {
  readonly userId: string;
  readonly email: string;
  /** Of the password; 0 where there is none. */
  readonly passwordVersion: number;
}

export interface MailToken {
  readonly token: string;
  readonly expiresAt: Date;
}

/** Nothing of it is stored: it is the user, the time and a MAC over all that it is bound to. */
export function issueMailToken(secret: Buffer, purpose: MailTokenPurpose, state: MailTokenState, now: Date): MailToken {
  const expiresAt = new Date(now.getTime() + LIFETIME_MS[purpose]);
  const time = Buffer.alloc(TIME_BYTES);
  time.writeUIntBE(expiresAt.getTime(), 0, TIME_BYTES);
  const id = Buffer.from(state.userId.replaceAll("-", ""), "hex");
  return {
    token: Buffer.concat([id, time, macOf(secret, purpose, state, expiresAt)]).toString("base64url"),
    expiresAt,
  };
}

/** The user whom a token says it is of, before anything is known of it; undefined where it is no token at all. */
export function userOfMailToken(token: string): string | undefined {
  const bytes = parse(token);
  const hex = bytes?.subarray(0, ID_BYTES).toString("hex");
  return hex && [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Whether a token was issued for this purpose and for what is so still. */
export function isMailToken(
  secret: Buffer,
  token: string,
  purpose: MailTokenPurpose,
  state: MailTokenState,
  now: Date,
): boolean {
  const bytes = parse(token);
  if (!bytes || userOfMailToken(token) !== state.userId) return false;
  const expiresAt = new Date(bytes.readUIntBE(ID_BYTES, TIME_BYTES));
  const mac = bytes.subarray(ID_BYTES + TIME_BYTES);
  return timingSafeEqual(mac, macOf(secret, purpose, state, expiresAt)) && expiresAt > now;
}

function macOf(secret: Buffer, purpose: MailTokenPurpose, state: MailTokenState, expiresAt: Date): Buffer {
  // Lower-cased: an email is the same in any case. A password matters to the one that sets it.
  const version = purpose === "password reset" ? state.passwordVersion : 0;
  const bound = [purpose, state.userId, state.email.toLowerCase(), expiresAt.getTime(), version];
  return createHmac("sha256", secret).update(JSON.stringify(bound)).digest();
}

function parse(token: string): Buffer | undefined {
  if (!/^[\w-]+$/.test(token)) return undefined;
  const bytes = Buffer.from(token, "base64url");
  // A token has one spelling: what differs in bits that base64 drops is no token.
  const isWhole = bytes.length === ID_BYTES + TIME_BYTES + MAC_BYTES && bytes.toString("base64url") === token;
  return isWhole ? bytes : undefined;
}
