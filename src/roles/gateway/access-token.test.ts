import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { expect, test } from "vitest";
import { AppError } from "../../platform/errors.ts";
import { verifyAccessToken } from "./access-token.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const other = generateKeyPairSync("ed25519");
const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 });
const keyOf = async (kid: string): Promise<KeyObject | undefined> => (kid === "k1" ? publicKey : undefined);

const now = () => Math.floor(Date.now() / 1_000);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

const header = { alg: "EdDSA", typ: "at+jwt", kid: "k1" };
const claims = () => ({
  iss: "connect-commerce",
  aud: "connect-commerce",
  sub: "0199d2f0-0000-7000-8000-000000000001",
  sid: "0199d2f0-0000-7000-8000-000000000002",
  permissions: ["order.read"],
  iat: now(),
  exp: now() + 600,
});

type Sign = (data: Buffer) => Buffer;
const signed: Sign = (data) => sign(null, data, privateKey);

function token(head: object = header, body: object = claims(), signature: Sign = signed): string {
  const data = `${encode(head)}.${encode(body)}`;
  return `${data}.${signature(Buffer.from(data)).toString("base64url")}`;
}

test("a token of ours", async () => {
  const { sub, sid, exp } = claims();
  expect(await verifyAccessToken(token(), keyOf)).toEqual({
    subject: { kind: "user", id: sub, permissions: ["order.read"], sessionId: sid },
    sessionId: sid,
    expiresAt: exp * 1_000,
  });
});

const spki = publicKey.export({ format: "der", type: "spki" });
const pem = publicKey.export({ format: "pem", type: "spki" });
const jwk = other.publicKey.export({ format: "jwk" });

test.each<[string, object, object, Sign?]>([
  ["alg none, unsigned", { ...header, alg: "none" }, {}, () => Buffer.alloc(0)],
  ["alg None, unsigned", { ...header, alg: "None" }, {}, () => Buffer.alloc(0)],
  ["alg none, signed", { ...header, alg: "none" }, {}],
  [
    "HS256 with the public key (DER)",
    { ...header, alg: "HS256" },
    {},
    (d) => createHmac("sha256", spki).update(d).digest(),
  ],
  [
    "HS256 with the public key (PEM)",
    { ...header, alg: "HS256" },
    {},
    (d) => createHmac("sha256", pem).update(d).digest(),
  ],
  ["HS256 with an empty secret", { ...header, alg: "HS256" }, {}, (d) => createHmac("sha256", "").update(d).digest()],
  ["RS256 with a key of one's own", { ...header, alg: "RS256" }, {}, (d) => sign("sha256", d, rsa.privateKey)],
  ["a stranger's key", header, {}, (d) => sign(null, d, other.privateKey)],
  ["a key in the header", { ...header, jwk }, {}, (d) => sign(null, d, other.privateKey)],
  [
    "an address of keys in the header",
    { ...header, jku: "http://127.0.0.1:1/jwks" },
    {},
    (d) => sign(null, d, other.privateKey),
  ],
  [
    "certificates in the header",
    { ...header, x5c: ["AA=="], x5u: "http://127.0.0.1:1" },
    {},
    (d) => sign(null, d, other.privateKey),
  ],
  ["an unknown kid", { ...header, kid: "k2" }, {}],
  ["a kid that is a path", { ...header, kid: "../../dev/null" }, {}],
  ["a kid of SQL", { ...header, kid: "' or 1=1 --" }, {}],
  ["a kid that is no text", { ...header, kid: ["k1"] }, {}],
  ["no kid", { alg: "EdDSA", typ: "at+jwt" }, {}],
  ["another typ", { ...header, typ: "JWT" }, {}],
  ["the typ of an assertion", { ...header, typ: "commerce-assertion+jwt" }, {}],
  ["no typ", { alg: "EdDSA", kid: "k1" }, {}],
  ["critical headers", { ...header, crit: ["b64"], b64: false }, {}],
  ["another issuer", header, { iss: "connect-commerce.evil" }],
  ["another audience", header, { aud: "another" }],
  ["no audience", header, { aud: undefined }],
  ["no subject", header, { sub: undefined }],
  ["no session", header, { sid: undefined }],
  ["no expiry", header, { exp: undefined }],
  ["no issue time", header, { iat: undefined }],
  ["a life of an hour", header, { exp: now() + 3_600 }],
  ["an expiry that is text", header, { exp: "9999999999" }],
  ["a start in the future", header, { nbf: now() + 100 }],
  ["permissions that are no list", header, { permissions: "order.read" }],
  ["permissions that are no texts", header, { permissions: [1] }],
  ["no permissions", header, { permissions: undefined }],
])("refuses %s", async (_what, head, body, signature) => {
  await expect(verifyAccessToken(token(head, { ...claims(), ...body }, signature), keyOf)).rejects.toMatchObject({
    kind: "unauthenticated",
    reason: "TOKEN_INVALID",
  });
});

test("an expired token says so, and only where it is ours", async () => {
  const past = { ...claims(), iat: now() - 700, exp: now() - 100 };
  await expect(verifyAccessToken(token(header, past), keyOf)).rejects.toMatchObject({ reason: "TOKEN_EXPIRED" });
  const forged = token(header, past, (data) => sign(null, data, other.privateKey));
  await expect(verifyAccessToken(forged, keyOf)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
});

test("10,000 mutated tokens: none is accepted", async () => {
  const original = token();
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \0é";
  // A small generator with a seed: a failure can be repeated.
  let seed = 20_261_121;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const letter = () => alphabet[random(alphabet.length)] ?? "";
  const mutate = [
    (text: string, at: number) => text.slice(0, at) + letter() + text.slice(at + 1),
    (text: string, at: number) => text.slice(0, at) + text.slice(at + 1),
    (text: string, at: number) => text.slice(0, at) + letter() + text.slice(at),
    (text: string, at: number) => text.slice(0, at),
    (text: string, at: number) => text.slice(at) + text.slice(0, at),
    (text: string, at: number) => text + text.slice(at),
  ];
  const accepted: string[] = [];
  for (let n = 0; n < 10_000; n += 1) {
    let mutated = original;
    for (let times = random(3); times >= 0; times -= 1) {
      mutated = mutate[random(mutate.length)]?.(mutated, random(mutated.length + 1)) ?? "";
    }
    if (sameToken(mutated, original)) continue;
    const outcome = await verifyAccessToken(mutated, keyOf).catch((error: unknown) => error);
    if (!(outcome instanceof AppError && outcome.kind === "unauthenticated")) accepted.push(mutated);
  }
  expect(accepted).toEqual([]);
});

/** The last letters of a base64url text may differ in bits that do not count: still the same bytes. */
function sameToken(a: string, b: string): boolean {
  const bytes = (text: string) => text.split(".").map((part) => Buffer.from(part, "base64url").toString("hex"));
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(a) && bytes(a).join(".") === bytes(b).join(".");
}
