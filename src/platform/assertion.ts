import { decodeJwt } from "jose/jwt/decode";
import { SignJWT } from "jose/jwt/sign";
import { jwtVerify } from "jose/jwt/verify";
import type { AssertionKeys } from "./assertion-keys.ts";
import { boundedMap } from "./bounded-map.ts";
import type { Subject } from "./call.ts";
import { anonymous } from "./call.ts";
import { digestOf } from "./digest.ts";
import { errors } from "./errors.ts";

/** The header in which one role tells another who it is and for whom it asks. */
export const ASSERTION_HEADER = "x-commerce-assertion";

const typ = "commerce-assertion+jwt";
const lifetimeSeconds = 60;
const cacheSize = 10_000;

export interface Assertion {
  /** The role that made it. */
  readonly caller: string;
  readonly subject: Subject;
  /** Whether that role only passes on an outsider's call. */
  readonly outside: boolean;
}

/** Makes and checks the assertions of one role. One per subject and callee serves for half its life. */
export interface Assertions {
  /** @param outside whether an outsider's call is passed on. */
  sign(callee: string, subject: Subject, outside: boolean): Promise<string>;
  /** @throws AppError TOKEN_INVALID where it is not one for this role, by the key of a role, and in time. */
  verify(token: string): Promise<Assertion>;
}

/** What is known of the roles that may speak. */
export interface Speakers {
  readonly keys: AssertionKeys;
  /** Whether a role of this name exists; `edge` of those that may pass on the calls of outsiders. */
  readonly roles: Readonly<Record<string, { readonly edge?: boolean }>>;
}

/** The assertions of a role: issuer is who calls, audience who is called, both by name. */
export function createAssertions(role: string, { keys, roles }: Speakers): Assertions {
  const signed = boundedMap<string, { token: string; freshUntil: number }>(cacheSize);
  const verified = boundedMap<string, { assertion: Assertion; until: number }>(cacheSize);

  return {
    async sign(callee, subject, outside) {
      const cacheKey = JSON.stringify([callee, outside, subject]);
      const known = signed.get(cacheKey);
      if (known && known.freshUntil > Date.now()) return known.token;
      const token = await new SignJWT({ subject, outside })
        .setProtectedHeader({ alg: "EdDSA", typ })
        .setIssuer(role)
        .setAudience(callee)
        .setIssuedAt()
        .setExpirationTime(`${String(lifetimeSeconds)}s`)
        .sign(keys.privateKey(role));
      signed.set(cacheKey, { token, freshUntil: Date.now() + (lifetimeSeconds * 1_000) / 2 });
      return token;
    },

    async verify(token) {
      const digest = digestOf(token);
      const known = verified.get(digest);
      if (known && known.until > Date.now()) return known.assertion;
      try {
        const caller = decodeJwt(token).iss ?? "";
        // The name must be a role's before it names a key.
        if (!Object.hasOwn(roles, caller)) throw new Error(`there is no role ${JSON.stringify(caller)}`);
        const { payload } = await jwtVerify(token, keys.publicKey(caller), {
          algorithms: ["EdDSA"],
          typ,
          issuer: caller,
          audience: role,
          requiredClaims: ["exp", "iat", "subject", "outside"],
          maxTokenAge: `${String(lifetimeSeconds)}s`,
          // Seconds that the clocks of two machines may differ.
          clockTolerance: 5,
        });
        const outside = payload["outside"] !== false;
        if (outside && !roles[caller]?.edge) throw new Error(`${caller} passes on no calls of outsiders`);
        const assertion = { caller, subject: (payload["subject"] as Subject | undefined) ?? anonymous, outside };
        verified.set(digest, { assertion, until: (payload.exp ?? 0) * 1_000 });
        return assertion;
      } catch (cause) {
        throw errors.TOKEN_INVALID({ cause });
      }
    },
  };
}
