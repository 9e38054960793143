import { createHash, randomBytes } from "node:crypto";
import { sealBytes, unsealBytes } from "./seal.ts";

/** Milliseconds that somebody has at the provider. */
export const LOGIN_MS = 10 * 60_000;

const RANDOM_BYTES = 32;
const SEALED_AS = "login token";

/** A login at a provider that has begun, for the browser alone that began it. */
export interface PendingLogin {
  /** The provider's name. */
  readonly provider: string;
  /** What the answer of the provider must come with. */
  readonly state: string;
  /** What its ID token must have in it. */
  readonly nonce: string;
  /** What the code is exchanged with (PKCE). */
  readonly verifier: string;
  /** A path of the app, or empty. */
  readonly returnTo: string;
  /** Who adds the login to their account; undefined: somebody logs in. */
  readonly userId: string | undefined;
}

/** One that came back. */
export interface OpenedLogin {
  readonly login: PendingLogin;
  /** SHA-256 of its token: it serves once. */
  readonly hash: Buffer;
  readonly expiresAt: Date;
}

/** Begins a login with random values that nobody has seen. */
export function newLogin(given: Pick<PendingLogin, "provider" | "returnTo" | "userId">): PendingLogin {
  return { ...given, state: random(), nonce: random(), verifier: random() };
}

/** What the provider gets to see of the verifier, by RFC 7636: S256. */
export function challengeOf({ verifier }: PendingLogin): string {
  return createHash("sha256").update(verifier).digest("base64url");
}

/**
 * The token that the browser keeps meanwhile. Nothing of the login is stored here: it is sealed in the token.
 * @param secret 32 bytes
 */
export function issueLoginToken(secret: Buffer, login: PendingLogin, now: Date): string {
  const content = JSON.stringify({ ...login, expiresAt: now.getTime() + LOGIN_MS });
  return sealBytes(Buffer.from(content), SEALED_AS, secret).toString("base64url");
}

/** The login of a token; undefined where it is none of ours or its time is over. */
export function openLoginToken(secret: Buffer, token: string, now: Date): OpenedLogin | undefined {
  const bytes = Buffer.from(token, "base64url");
  // One spelling each: what decodes to the same bytes, but is written otherwise, was not given out.
  if (bytes.toString("base64url") !== token) return undefined;
  try {
    const content = unsealBytes(bytes, SEALED_AS, secret).toString();
    const { expiresAt, ...login } = JSON.parse(content) as PendingLogin & { readonly expiresAt: number };
    if (expiresAt <= now.getTime()) return undefined;
    return { login, hash: createHash("sha256").update(bytes).digest(), expiresAt: new Date(expiresAt) };
  } catch {
    return undefined;
  }
}

function random(): string {
  return randomBytes(RANDOM_BYTES).toString("base64url");
}
