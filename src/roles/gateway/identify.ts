import type { Header } from "../../platform/authenticate.ts";
import { boundedMap } from "../../platform/bounded-map.ts";
import type { Identity } from "../../platform/call.ts";
import { anonymous } from "../../platform/call.ts";
import { digestOf } from "../../platform/digest.ts";
import { PeerError, errors } from "../../platform/errors.ts";
import type { AccessToken } from "./access-token.ts";
import { verifyAccessToken } from "./access-token.ts";
import { isApiKey, isSecretOf, keyIdOf } from "./api-key-secret.ts";
import type { ApiKeys } from "./api-keys.ts";
import type { Revocations } from "./revocations.ts";
import type { SigningKeys } from "./signing-keys.ts";

/** Verified tokens that are remembered. */
const CACHE_SIZE = 10_000;
/** Milliseconds that the first calls of a process may wait to know which sessions have ended. */
const SYNC_MS = 2_000;
/** Characters; ours are shorter. */
const LONGEST_TOKEN = 4_096;
const IS_JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

const KEY_INVALID = "There is no such API key, or it was revoked.";
const KEY_EXPIRED = "The API key's time is over; have another made.";

export interface IdentifyOptions {
  readonly keys: SigningKeys;
  readonly revocations: Revocations;
  readonly apiKeys: Pick<ApiKeys, "find" | "onRevoked" | "used">;
  readonly now?: () => number;
}

/**
 * Tells who calls by the Authorization header: a user by an access token, a machine by an API key, nobody without one.
 * @throws AppError TOKEN_INVALID, TOKEN_EXPIRED, PEER_DOWN where the user role or the database of the keys is needed
 * and does not answer
 */
export function createIdentify({ keys, revocations, apiKeys, now = Date.now }: IdentifyOptions) {
  const verified = boundedMap<string, AccessToken>(CACHE_SIZE);

  async function verify(token: string): Promise<AccessToken> {
    const digest = digestOf(token);
    const known = verified.get(digest);
    if (known) return known;
    if (token.length > LONGEST_TOKEN) throw errors.TOKEN_INVALID();
    const fresh = await verifyAccessToken(token, (kid) => keys.find(kid)).catch(fromPeer);
    if (!(await revocations.synced(SYNC_MS))) throw errors.PEER_DOWN({ retryAfterMs: 1_000 });
    verified.set(digest, fresh);
    return fresh;
  }

  async function machineOf(secret: string): Promise<Identity> {
    const id = keyIdOf(secret);
    const key = id === undefined ? undefined : await apiKeys.find(id);
    if (!key || !isSecretOf(secret, key.secret_hash)) throw errors.TOKEN_INVALID({ message: KEY_INVALID });
    const expiresAt = key.expires_at?.getTime();
    if (expiresAt !== undefined && expiresAt <= now()) throw errors.TOKEN_EXPIRED({ message: KEY_EXPIRED });
    apiKeys.used(key.id, new Date(now()));
    return {
      subject: { kind: "machine", id: key.id, permissions: key.permissions },
      ...(expiresAt !== undefined && { expiresAt }),
      onRevoked: (listener) => apiKeys.onRevoked(key.id, listener),
    };
  }

  return async (header: Header): Promise<Identity> => {
    const authorization = header("authorization");
    if (authorization === undefined) return { subject: anonymous };
    const token = /^Bearer +([\w.-]+)$/i.exec(authorization)?.[1];
    if (token === undefined) throw errors.TOKEN_INVALID();
    if (isApiKey(token)) return machineOf(token);
    if (!IS_JWT.test(token)) throw errors.TOKEN_INVALID();
    const { subject, sessionId, expiresAt } = await verify(token);
    if (expiresAt <= now()) throw errors.TOKEN_EXPIRED();
    if (revocations.isRevoked(sessionId)) throw errors.TOKEN_INVALID();
    return { subject, expiresAt, onRevoked: (listener) => revocations.onRevoked(sessionId, listener) };
  };
}

function fromPeer(error: unknown): never {
  throw error instanceof PeerError ? errors.PEER_DOWN({ retryAfterMs: 1_000, cause: error }) : error;
}
