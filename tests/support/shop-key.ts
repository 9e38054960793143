import type { KeyObject } from "node:crypto";
import { createPublicKey, randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import { Client } from "pg";
import { deriveKey } from "../../src/platform/secret.ts";
import { signerAt, unseal } from "../../src/roles/user/signing-key.ts";
import type { Installation } from "./installation.ts";
import { secret } from "./installation.ts";

/** What an access token is to say; a token as the shop makes them where nothing is said. */
export interface Forged {
  readonly userId: string;
  readonly sessionId?: string;
  readonly permissions?: readonly string[];
  /** Seconds from now. */
  readonly issuedIn?: number;
  /** Seconds from now. */
  readonly expiresIn?: number;
  readonly issuer?: string;
  readonly audience?: string;
  readonly typ?: string;
  readonly kid?: string;
  readonly key?: KeyObject | Uint8Array;
  readonly alg?: string;
}

/** The key of a running shop that signs its access tokens, taken out of its database. */
export interface ShopKey {
  readonly publicKey: KeyObject;
  sign(claims: Forged): Promise<string>;
}

/** Needs one login before, which makes the key. */
export async function shopKeyOf(shop: Installation): Promise<ShopKey> {
  const client = new Client({ connectionString: shop.databases["user"]?.url ?? "" });
  await client.connect();
  const { rows } = await client.query<Record<string, Date> & { id: string; private_key: Buffer }>(
    "select * from signing_keys",
  );
  await client.end();
  const keys = rows.map((row) => ({
    id: row.id,
    sealed: row.private_key,
    signsFrom: row["signs_from"] ?? new Date(0),
    signsUntil: row["signs_until"] ?? new Date(0),
    validUntil: row["valid_until"] ?? new Date(0),
  }));
  const signer = signerAt(keys, new Date());
  if (!signer) throw new Error("the shop has no signing key yet");
  const privateKey = unseal(signer.sealed, signer.id, deriveKey(secret, "user", "signing keys"));
  return {
    publicKey: createPublicKey(privateKey),
    sign({ userId, sessionId = randomUUID(), permissions = [], issuedIn = 0, expiresIn = 600, ...odd }) {
      const now = Math.floor(Date.now() / 1_000);
      return new SignJWT({ sid: sessionId, permissions: [...permissions] })
        .setProtectedHeader({ alg: odd.alg ?? "EdDSA", typ: odd.typ ?? "at+jwt", kid: odd.kid ?? signer.id })
        .setIssuer(odd.issuer ?? "connect-commerce")
        .setAudience(odd.audience ?? "connect-commerce")
        .setSubject(userId)
        .setJti(randomUUID())
        .setIssuedAt(now + issuedIn)
        .setExpirationTime(now + expiresIn)
        .sign(odd.key ?? privateKey);
    },
  };
}
