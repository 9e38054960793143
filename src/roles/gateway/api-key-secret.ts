import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * The secret of an API key: a prefix by which scanners of leaked secrets know it, the key's id in hexadecimal, and 256
 * random bits.
 */
export function newSecret(id: string): string {
  return `cck_${id.replaceAll("-", "")}_${randomBytes(32).toString("base64url")}`;
}

const SECRET = /^cck_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})_[\w-]{43}$/;

/** Whether a token means to be an API key. */
export function isApiKey(token: string): boolean {
  return token.startsWith("cck_");
}

/** The id of the key that a secret names; undefined where it is no secret of ours. */
export function keyIdOf(secret: string): string | undefined {
  return SECRET.exec(secret)?.slice(1).join("-");
}

/** What is stored of a secret. A fast hash is enough for 256 random bits. */
export function hashOfSecret(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** Whether the secret is the one that was hashed, in the same time either way. */
export function isSecretOf(secret: string, hash: Buffer): boolean {
  return timingSafeEqual(hashOfSecret(secret), hash);
}
