import type { KeyObject } from "node:crypto";
import { publicKeyOf } from "./access-token.ts";

/** A key as the user role publishes it. */
export interface PublishedKey {
  readonly id: string;
  readonly publicKey: Uint8Array;
}

/** Milliseconds between two looks for a key that is not known: a token with an invented `kid` must not cost one each. */
const LOOK_MS = 2_000;
/** Milliseconds after which the keys are read again, so that a key that was withdrawn is forgotten. */
const STALE_MS = 300_000;

/**
 * The public keys of access tokens, read when first needed and again when one is not among them.
 * @param read asks the user role. A failure of it is thrown where no key is known; else what is known serves on.
 */
export function createSigningKeys(read: () => Promise<readonly PublishedKey[]>, now: () => number = Date.now) {
  let keys: ReadonlyMap<string, KeyObject> | undefined;
  let readAt = -Infinity;
  let reading: Promise<void> | undefined;

  async function refresh(): Promise<void> {
    const published = await read();
    keys = new Map(published.map(({ id, publicKey }) => [id, publicKeyOf(publicKey)]));
    readAt = now();
  }

  function refreshOnce(): Promise<void> {
    reading ??= refresh().finally(() => {
      reading = undefined;
    });
    return reading;
  }

  return {
    /** Undefined where there is no such key. @throws what reading throws, where no key is known yet */
    async find(id: string): Promise<KeyObject | undefined> {
      const age = now() - readAt;
      const isWanted = keys === undefined || (!keys.has(id) && age > LOOK_MS);
      if (isWanted) {
        await refreshOnce().catch((error: unknown) => {
          if (keys === undefined) throw error;
        });
      } else if (age > STALE_MS) refreshOnce().catch(() => undefined);
      return keys?.get(id);
    },
  };
}

export type SigningKeys = ReturnType<typeof createSigningKeys>;
