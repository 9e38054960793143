import { hkdfSync } from "node:crypto";
import { SignJWT, jwtVerify } from "jose";
import type { Subject } from "./call.ts";
import { anonymous } from "./call.ts";
import { errors } from "./errors.ts";

/** The header in which one role tells another who it is and for whom it asks. */
export const ASSERTION_HEADER = "x-commerce-assertion";

const typ = "commerce-assertion+jwt";
const lifetimeSeconds = 60;
const cacheSize = 1_000;

export interface Assertion {
  /** The role that made it. */
  readonly caller: string;
  readonly subject: Subject;
  /** Whether that role only passes on an outsider's call. */
  readonly outside: boolean;
}

/** Makes the assertions of one role. One per subject and callee serves for half its life. */
export interface Assertions {
  sign(callee: string, subject: Subject): Promise<string>;
  /** @throws AppError TOKEN_INVALID where the assertion is not one for this role, made by a role, and in time. */
  verify(token: string): Promise<Assertion>;
}

/**
 * Assertions signed with a key that is derived from the installation's secret, which every role's process is given.
 * @param edge whether this role only passes on the calls of outsiders.
 */
export function createAssertions(role: string, secret: string, edge = false): Assertions {
  const key = new Uint8Array(hkdfSync("sha256", secret, "", "connect-commerce assertion", 32));
  const signed = new Map<string, { token: string; freshUntil: number }>();
  const verified = new Map<string, { assertion: Assertion; until: number }>();

  return {
    async sign(callee, subject) {
      const cacheKey = JSON.stringify([callee, subject]);
      const known = signed.get(cacheKey);
      if (known && known.freshUntil > Date.now()) return known.token;
      const token = await new SignJWT({ subject, outside: edge })
        .setProtectedHeader({ alg: "HS256", typ })
        .setIssuer(role)
        .setAudience(callee)
        .setIssuedAt()
        .setExpirationTime(`${String(lifetimeSeconds)}s`)
        .sign(key);
      remember(signed, cacheKey, { token, freshUntil: Date.now() + (lifetimeSeconds * 1_000) / 2 });
      return token;
    },

    async verify(token) {
      const known = verified.get(token);
      if (known && known.until > Date.now()) return known.assertion;
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: ["HS256"],
          typ,
          audience: role,
          requiredClaims: ["iss", "exp"],
        });
        const assertion = {
          caller: payload.iss ?? "",
          subject: (payload["subject"] as Subject | undefined) ?? anonymous,
          outside: payload["outside"] !== false,
        };
        remember(verified, token, { assertion, until: (payload.exp ?? 0) * 1_000 });
        return assertion;
      } catch (cause) {
        throw errors.TOKEN_INVALID({ cause });
      }
    },
  };
}

/** Keeps a cache bounded: the oldest entry makes room. */
function remember<V>(cache: Map<string, V>, key: string, value: V): void {
  cache.delete(key);
  if (cache.size >= cacheSize) {
    const oldest = cache.keys().next();
    if (!oldest.done) cache.delete(oldest.value);
  }
  cache.set(key, value);
}
