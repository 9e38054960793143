import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import { afterEach, expect, test, vi } from "vitest";
import { createAssertions } from "./assertion.ts";
import { derivedKeys, keysIn } from "./assertion-keys.ts";
import type { Subject } from "./call.ts";

afterEach(() => void vi.useRealTimers());

const secret = "a secret of the tests, at least 32 characters";
const keys = derivedKeys(secret);
const roles = { gateway: { edge: true }, user: {}, order: {} };
const of = (role: string) => createAssertions(role, { keys, roles });
const ada: Subject = { kind: "user", id: "1", permissions: ["order.read"], sessionId: "2" };
const service: Subject = { kind: "service", role: "order" };
const refused = { kind: "unauthenticated", reason: "TOKEN_INVALID" };

test("a role tells who it is and for whom it asks", async () => {
  expect(await of("user").verify(await of("gateway").sign("user", ada, true))).toEqual({
    caller: "gateway",
    subject: ada,
    outside: true,
  });
  expect(await of("user").verify(await of("order").sign("user", service, false))).toEqual({
    caller: "order",
    subject: service,
    outside: false,
  });
});

test("one assertion serves for half its life", async () => {
  vi.useFakeTimers();
  const order = of("order");
  const first = await order.sign("user", service, false);
  vi.advanceTimersByTime(29_000);
  expect(await order.sign("user", service, false)).toBe(first);
  vi.advanceTimersByTime(2_000);
  expect(await order.sign("user", service, false)).not.toBe(first);
  expect(await of("user").verify(first)).toMatchObject({ caller: "order" });
  vi.advanceTimersByTime(40_000);
  await expect(of("user").verify(first)).rejects.toMatchObject(refused);
});

interface Forgery {
  readonly alg?: string;
  readonly typ?: string;
  readonly iss?: string;
  readonly aud?: string;
  readonly key?: Parameters<SignJWT["sign"]>[0];
  readonly claims?: Record<string, unknown>;
  readonly life?: string | null;
}

function forge(forgery: Forgery = {}): Promise<string> {
  const { alg = "EdDSA", typ = "commerce-assertion+jwt", iss = "order", aud = "user", life = "60s" } = forgery;
  const token = new SignJWT({ subject: service, outside: false, ...forgery.claims })
    .setProtectedHeader({ alg, typ })
    .setIssuer(iss)
    .setAudience(aud)
    .setIssuedAt();
  if (life !== null) token.setExpirationTime(life);
  return token.sign(forgery.key ?? keys.privateKey("order"));
}

const stranger = generateKeyPairSync("ed25519").privateKey;
const publicBytes = keys.publicKey("order").export({ format: "der", type: "spki" });

test.each<[string, Forgery]>([
  ["signed with another role's key", { key: keys.privateKey("product") }],
  ["of another installation", { key: derivedKeys(`${secret}!`).privateKey("order") }],
  ["signed with a stranger's key", { key: stranger }],
  ["signed with the public key as a secret", { alg: "HS256", key: new Uint8Array(publicBytes) }],
  ["for another audience", { aud: "product" }],
  ["of a role that is not there", { iss: "nobody" }],
  ["of a name that objects have", { iss: "constructor" }],
  ["of another type", { typ: "at+jwt" }],
  ["whose time is over", { life: "-10s" }],
  ["without an end", { life: null }],
  ["that says nothing of outside", { claims: { outside: undefined } }],
  ["that passes on a call from outside, and may not", { claims: { outside: true } }],
])("an assertion %s is refused", async (_what, forgery) => {
  expect(await of("user").verify(await forge())).toMatchObject({ caller: "order" });
  await expect(of("user").verify(await forge(forgery))).rejects.toMatchObject(refused);
});

test.each(["", "x", "a.b.c", "..", `${"x".repeat(5_000)}`])("%j is no assertion", async (token) => {
  await expect(of("user").verify(token)).rejects.toMatchObject(refused);
});

test("keys of a folder: a process speaks for its own roles only", async () => {
  const folder = mkdtempSync(join(tmpdir(), "keys-"));
  try {
    for (const role of Object.keys(roles)) {
      const { privateKey, publicKey } = generateKeyPairSync("ed25519");
      writeFileSync(join(folder, `${role}.key`), privateKey.export({ format: "pem", type: "pkcs8" }));
      writeFileSync(join(folder, `${role}.pub`), publicKey.export({ format: "pem", type: "spki" }));
    }
    const all = Object.keys(roles);
    const ofOrder = createAssertions("order", { keys: keysIn(folder, ["order"], all), roles });
    const ofUser = createAssertions("user", { keys: keysIn(folder, ["user"], all), roles });
    expect(await ofUser.verify(await ofOrder.sign("user", service, false))).toMatchObject({ caller: "order" });
    await expect(ofUser.verify(await forge())).rejects.toMatchObject(refused);
    expect(() => keysIn(folder, ["order"], all).privateKey("user")).toThrow("there is no key of the role user");
    writeFileSync(join(folder, "order.pub"), readFileSync(join(folder, "user.pub")));
    expect(() => keysIn(folder, ["order"], all)).toThrow("order.key and order.pub");
    expect(() => keysIn(folder, ["product"], all)).toThrow(/KEYS_DIR: .*product\.key: .*npm run keys/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
