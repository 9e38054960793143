import type { KeyObject } from "node:crypto";
import { createPublicKey } from "node:crypto";
import type { JWTPayload } from "jose";
import * as joseErrors from "jose/errors";
import { jwtVerify } from "jose/jwt/verify";
import type { Subject } from "../../platform/call.ts";
import { errors } from "../../platform/errors.ts";

/** What an access token says, once it is verified. */
export interface AccessToken {
  readonly subject: Subject & { readonly kind: "user" };
  readonly sessionId: string;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** The longest that an access token may live, in seconds. */
const LONGEST_LIFE = 600;

const ISSUER = "connect-commerce";
const AUDIENCE = "connect-commerce";
const TYPE = "at+jwt";

/**
 * Verifies an access token: EdDSA, `typ: at+jwt`, our issuer and audience, an expiry at most ten minutes after its
 * issue. Nothing in its header is heard but `kid`, by which the key is found among our own.
 * @param keyOf undefined where there is no such key.
 * @throws AppError TOKEN_EXPIRED, TOKEN_INVALID
 */
export async function verifyAccessToken(
  token: string,
  keyOf: (kid: string) => Promise<KeyObject | undefined>,
): Promise<AccessToken> {
  const findKey = async ({ kid }: { kid?: string }): Promise<KeyObject> => {
    const key = typeof kid === "string" ? await keyOf(kid) : undefined;
    if (!key) throw new joseErrors.JWKSNoMatchingKey();
    return key;
  };
  try {
    const { payload } = await jwtVerify(token, findKey, {
      algorithms: ["EdDSA"],
      typ: TYPE,
      issuer: ISSUER,
      audience: AUDIENCE,
      requiredClaims: ["exp", "iat", "sub", "sid"],
    });
    return readClaims(payload);
  } catch (error) {
    if (error instanceof joseErrors.JWTExpired) throw errors.TOKEN_EXPIRED({ cause: error });
    if (error instanceof joseErrors.JOSEError || error instanceof TypeError)
      throw errors.TOKEN_INVALID({ cause: error });
    throw error;
  }
}

function readClaims({ sub, exp = 0, iat = 0, sid, permissions }: JWTPayload): AccessToken {
  const isOurs =
    typeof sub === "string" &&
    typeof sid === "string" &&
    Array.isArray(permissions) &&
    permissions.every((permission) => typeof permission === "string") &&
    exp - iat <= LONGEST_LIFE;
  if (!isOurs) throw errors.TOKEN_INVALID();
  return {
    subject: { kind: "user", id: sub, permissions, sessionId: sid },
    sessionId: sid,
    expiresAt: exp * 1_000,
  };
}

/** An Ed25519 public key of its 32 bytes. */
export function publicKeyOf(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}
