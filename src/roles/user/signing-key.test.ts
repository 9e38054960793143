import { createPublicKey, sign, verify } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Schedule } from "./signing-key.ts";
import {
  OVERLAP_MS,
  PUBLISHED_BEFORE_MS,
  SIGNS_MS,
  newKeyPair,
  planKey,
  seal,
  signerAt,
  unseal,
} from "./signing-key.ts";

const HOUR_MS = 3_600_000;
const start = new Date("2026-01-01T00:00:00Z").getTime();
const at = (ms: number) => new Date(start + ms);

function planned(keys: readonly Schedule[], now: Date): Schedule {
  const plan = planKey(keys, now);
  if (!plan) throw new Error("no key is planned");
  return plan;
}

describe("the schedule of signing keys", () => {
  test("the first signs at once, for 30 days", () => {
    const first = planned([], at(0));
    expect(first.signsFrom).toEqual(at(0));
    expect(first.signsUntil).toEqual(at(SIGNS_MS));
    expect(planKey([first], at(0))).toBeUndefined();
    expect(signerAt([first], at(0))).toBe(first);
  });

  test("the next is made before the first ends, and signs when it does", () => {
    const first = planned([], at(0));
    const second = planned([first], at(SIGNS_MS - 48 * HOUR_MS));
    expect(second.signsFrom).toEqual(first.signsUntil);
    expect(planKey([first, second], at(SIGNS_MS - HOUR_MS))).toBeUndefined();
    expect(signerAt([first, second], at(SIGNS_MS - 1))).toBe(first);
    expect(signerAt([first, second], at(SIGNS_MS))).toBe(second);
  });

  test("one that is made late is published for an hour before it signs; the one before signs meanwhile", () => {
    const first = planned([], at(0));
    const late = at(SIGNS_MS - 1);
    const second = planned([first], late);
    expect(second.signsFrom.getTime() - late.getTime()).toBe(PUBLISHED_BEFORE_MS);
    const last = new Date(second.signsFrom.getTime() - 1);
    expect(signerAt([first, second], last)).toBe(first);
    expect(first.validUntil.getTime() - last.getTime()).toBeGreaterThanOrEqual(OVERLAP_MS);
  });

  test("after a long pause a key signs at once, since none else can", () => {
    const first = planned([], at(0));
    const now = at(3 * SIGNS_MS);
    expect(signerAt([first], now)).toBeUndefined();
    expect(planned([first], now).signsFrom).toEqual(now);
  });

  test("looked at every hour for a year, one signs at any time, known for an hour, published for 15 minutes more", () => {
    const keys: (Schedule & { madeAt: Date })[] = [];
    for (let hour = 0; hour < 365 * 24; hour += 1) {
      const now = at(hour * HOUR_MS);
      const plan = planKey(keys, now);
      if (plan) keys.push({ ...plan, madeAt: now });
      const signer = signerAt(keys, now);
      if (!signer) throw new Error(`none signs at ${now.toISOString()}`);
      const known = signer === keys[0] ? Infinity : now.getTime() - signer.madeAt.getTime();
      expect(known).toBeGreaterThanOrEqual(PUBLISHED_BEFORE_MS);
      expect(signer.validUntil.getTime() - now.getTime()).toBeGreaterThanOrEqual(OVERLAP_MS);
    }
    expect(keys).toHaveLength(13);
  });
});

describe("sealing", () => {
  const secret = Buffer.alloc(32, 1);
  const pair = newKeyPair();

  test("a key comes out as it went in, and is the one of its public half", () => {
    const sealed = seal(pair.privateKey, "a", secret);
    expect(sealed.includes(pair.privateKey.export({ format: "der", type: "pkcs8" }))).toBe(false);
    expect(seal(pair.privateKey, "a", secret)).not.toEqual(sealed);
    const x = pair.publicKey.toString("base64url");
    const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    const text = Buffer.from("text");
    expect(verify(null, text, publicKey, sign(null, text, unseal(sealed, "a", secret)))).toBe(true);
  });

  test("it opens under its own id and secret alone, unchanged", () => {
    const sealed = seal(pair.privateKey, "a", secret);
    expect(() => unseal(sealed, "b", secret)).toThrow("authenticate");
    expect(() => unseal(sealed, "a", Buffer.alloc(32, 2))).toThrow("authenticate");
    for (const index of [0, 13, 40]) {
      const changed = Buffer.from(sealed);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(() => unseal(changed, "a", secret)).toThrow("authenticate");
    }
    expect(() => unseal(sealed.subarray(0, 20), "a", secret)).toThrow("tag length");
  });
});
