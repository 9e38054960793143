import { createHash, createHmac, randomBytes } from "node:crypto";

/** Bytes of a refresh token. */
const BYTES = 32;

/** A refresh token as the client has it, in base64url, and the SHA-256 by which alone it is stored. */
export interface RefreshToken {
  readonly text: string;
  readonly hash: Buffer;
}

/** A new token of 256 random bits. */
export function newRefreshToken(): RefreshToken {
  return fromBytes(randomBytes(BYTES));
}

/** Reads a token that a client sent; undefined for a text that is none. */
export function parseRefreshToken(text: string): RefreshToken | undefined {
  const bytes = Buffer.from(text, "base64url");
  // One spelling each: what decodes to the same bytes, but is written otherwise, was not given out.
  return bytes.length === BYTES && bytes.toString("base64url") === text ? fromBytes(bytes) : undefined;
}

/**
 * The token that follows on another: always the same, so that whoever lost an answer can be given it again although
 * only hashes are stored. Without the key nothing follows from a token about the next.
 */
export function successorOf(token: RefreshToken, key: Buffer): RefreshToken {
  return fromBytes(createHmac("sha256", key).update(Buffer.from(token.text, "base64url")).digest());
}

function fromBytes(bytes: Buffer): RefreshToken {
  return { text: bytes.toString("base64url"), hash: createHash("sha256").update(bytes).digest() };
}
