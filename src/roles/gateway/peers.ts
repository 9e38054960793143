import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import type { Peers } from "../../platform/clients/clients.ts";
import type { RevocationBatch } from "./revocations.ts";
import type { PublishedKey } from "./signing-keys.ts";

/** Milliseconds that the keys may take. */
const KEYS_MS = 2_000;

/** What the gateway itself needs of the user role. */
export interface UserPeer {
  listSigningKeys(): Promise<readonly PublishedKey[]>;
  watchRevocations(after: bigint, signal: AbortSignal): AsyncIterable<RevocationBatch>;
}

export function userPeer(peers: Peers): UserPeer {
  const auth = peers.client(AuthService);
  return {
    async listSigningKeys() {
      return (await auth.listSigningKeys({}, { timeoutMs: KEYS_MS })).keys;
    },
    watchRevocations: (after, signal) => auth.watchRevocations({ afterPosition: after }, { signal }),
  };
}
