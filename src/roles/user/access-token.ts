import type { KeyObject } from "node:crypto";
import { SignJWT } from "jose/jwt/sign";
import { newId } from "../../platform/id.ts";

/** `iss` of access tokens. */
export const ISSUER = "connect-commerce";
/** `aud` of access tokens. */
export const AUDIENCE = "connect-commerce";
/** `typ` in their header, by RFC 9068. */
export const TYP = "at+jwt";
/** `alg` in their header: Ed25519. */
export const ALGORITHM = "EdDSA";
/** Seconds that one is good for. */
export const LIFETIME_S = 600;

/** What an access token says. */
export interface AccessClaims {
  readonly userId: string;
  readonly sessionId: string;
  readonly permissions: readonly string[];
}

/** The key that signs. */
export interface Signer {
  readonly id: string;
  readonly privateKey: KeyObject;
}

export interface AccessToken {
  /** A JWT. */
  readonly token: string;
  readonly expiresAt: Date;
}

/** Signs an access token that is good from `now` for {@link LIFETIME_S}, both cut to the second. */
export async function signAccessToken(signer: Signer, claims: AccessClaims, now: Date): Promise<AccessToken> {
  const issuedAt = Math.floor(now.getTime() / 1_000);
  const token = await new SignJWT({ sid: claims.sessionId, permissions: claims.permissions })
    .setProtectedHeader({ alg: ALGORITHM, typ: TYP, kid: signer.id })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(claims.userId)
    .setJti(newId())
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + LIFETIME_S)
    .sign(signer.privateKey);
  return { token, expiresAt: new Date((issuedAt + LIFETIME_S) * 1_000) };
}
