import { argon2Sync } from "node:crypto";
import { expect, test } from "vitest";
import { COST, hashPassword, isOutdated, nobodysPassword, verifyPassword } from "./password.ts";

test("a password is stored as the PHC string of argon2id, 19 MiB, two passes, one lane", async () => {
  const phc = await hashPassword("correct horse");
  expect(phc).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  const [salt = "", hash = ""] = phc.split("$").slice(4);
  const derived = argon2Sync("argon2id", {
    message: "correct horse",
    nonce: Buffer.from(salt, "base64"),
    parallelism: 1,
    tagLength: 32,
    memory: 19 * 1_024,
    passes: 2,
  });
  expect(derived.toString("base64").replace("=", "")).toBe(hash);
  expect(await hashPassword("correct horse")).not.toBe(phc);
});

test("a password is compared with the cost that it was hashed with, which may be outdated", async () => {
  const now = await hashPassword("correct horse");
  const before = await hashPassword("correct horse", { memory: 64, passes: 1, parallelism: 1 });
  expect(before).toMatch(/^\$argon2id\$v=19\$m=64,t=1,p=1\$/);
  for (const phc of [now, before]) {
    expect(await verifyPassword("correct horse", phc)).toBe(true);
    expect(await verifyPassword("correct horsf", phc)).toBe(false);
  }
  expect([isOutdated(now), isOutdated(before)]).toEqual([false, true]);
  await expect(verifyPassword("x", "$argon2id$v=19$m=1$$")).rejects.toThrow("damaged");
});

test("it is the same password in another Unicode form", async () => {
  const phc = await hashPassword("Åﬁ plus", { ...COST, memory: 64 });
  expect(await verifyPassword("A\u030afi plus", phc)).toBe(true);
});

test("nobody's password has today's cost, and is never right", async () => {
  const phc = nobodysPassword();
  expect(isOutdated(phc)).toBe(false);
  expect(await verifyPassword("", phc)).toBe(false);
});
