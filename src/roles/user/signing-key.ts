import type { KeyObject } from "node:crypto";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { sealBytes, unsealBytes } from "./seal.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Milliseconds that a key signs. */
export const SIGNS_MS = 30 * DAY_MS;
/** Milliseconds that a key is published before it signs: verifiers have it by then. */
export const PUBLISHED_BEFORE_MS = HOUR_MS;
/** Milliseconds that a key is published after its last signature; tokens live for ten minutes. */
export const OVERLAP_MS = 15 * MINUTE_MS;
/** Milliseconds before the end of a key at which the next is made. */
const MADE_BEFORE_MS = 2 * DAY_MS;

/** The times of a signing key. */
export interface Schedule {
  readonly signsFrom: Date;
  /** When the next is to sign in its place. */
  readonly signsUntil: Date;
  /** When it is published no more. */
  readonly validUntil: Date;
}

/** The times of the key that is to be made now; undefined where the keys that there are will do. */
export function planKey(keys: readonly Schedule[], now: Date): Schedule | undefined {
  const at = now.getTime();
  const lastUntil = Math.max(-Infinity, ...keys.map(({ signsUntil }) => signsUntil.getTime()));
  if (lastUntil - at > MADE_BEFORE_MS) return undefined;
  // Where none can sign there is nobody to wait for: a verifier asks for a key that it does not know.
  const from = signerAt(keys, now) ? Math.max(lastUntil, at + PUBLISHED_BEFORE_MS) : at;
  return {
    signsFrom: new Date(from),
    signsUntil: new Date(from + SIGNS_MS),
    // One whose successor was made late signs on until that is known: an hour at most.
    validUntil: new Date(from + SIGNS_MS + PUBLISHED_BEFORE_MS + OVERLAP_MS),
  };
}

/** The key that signs now: the last of those that have begun, as long as it is published {@link OVERLAP_MS} longer. */
export function signerAt<T extends Schedule>(keys: readonly T[], now: Date): T | undefined {
  const begun = keys.filter(
    ({ signsFrom, validUntil }) => signsFrom <= now && now.getTime() + OVERLAP_MS < validUntil.getTime(),
  );
  return begun.reduce<T | undefined>((last, key) => (last && last.signsFrom >= key.signsFrom ? last : key), undefined);
}

/** An Ed25519 key pair. */
export interface KeyPair {
  /** The x coordinate, 32 bytes. */
  readonly publicKey: Buffer;
  readonly privateKey: KeyObject;
}

export function newKeyPair(): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const { x = "" } = publicKey.export({ format: "jwk" });
  return { publicKey: Buffer.from(x, "base64url"), privateKey };
}

/**
 * Encrypts a private key for the database, as its PKCS #8 bytes, bound to the key's id.
 * @param secret 32 bytes
 */
export function seal(privateKey: KeyObject, id: string, secret: Buffer): Buffer {
  return sealBytes(privateKey.export({ format: "der", type: "pkcs8" }), id, secret);
}

/** Decrypts what {@link seal} made. @throws Error where it was sealed with another secret, for another id, or changed */
export function unseal(sealed: Buffer, id: string, secret: Buffer): KeyObject {
  return createPrivateKey({ key: unsealBytes(sealed, id, secret), format: "der", type: "pkcs8" });
}
