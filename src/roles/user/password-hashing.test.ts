import { expect, test } from "vitest";
import { createPasswords } from "./password-hashing.ts";

test("hashes wait for their turn, and are refused where too many wait", async () => {
  const passwords = createPasswords(1, 2);
  const results = await Promise.allSettled(Array.from({ length: 5 }, () => passwords.hash("a password")));
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled", "rejected", "rejected"]);
  expect(results[4]).toMatchObject({ reason: { reason: "OVERLOADED", details: { retryAfterMs: 1_000 } } });
  // The places are free again.
  expect(await passwords.verify("a password", await passwords.hash("a password"))).toBe(true);
});

test("whoever has gone when the turn comes is not served, and the next is", async () => {
  const passwords = createPasswords(1, 10);
  const gone = new AbortController();
  const calls = [passwords.hash("1"), passwords.hash("2", gone.signal), passwords.hash("3")];
  gone.abort(new Error("gone"));
  const results = await Promise.allSettled(calls);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
});

test("without a stored hash no password is right; a hash of today is not renewed", async () => {
  const passwords = createPasswords();
  expect(await passwords.verify("a password", undefined)).toBe(false);
  expect(await passwords.renew("a password", await passwords.hash("a password"))).toBeUndefined();
});
