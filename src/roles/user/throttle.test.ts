import { expect, test } from "vitest";
import { ACCOUNT_LIMIT, accountKey, addressKey, passwordKey, waitOf } from "./throttle.ts";

test("an empty bucket has an attempt again after what is left of an interval", () => {
  const now = new Date("2026-01-01T00:00:00Z");
  const { burst, intervalMs } = ACCOUNT_LIMIT;
  const emptied = new Date(now.getTime() + burst * intervalMs);
  expect(waitOf(ACCOUNT_LIMIT, emptied, now)).toBe(intervalMs);
  expect(waitOf(ACCOUNT_LIMIT, emptied, new Date(now.getTime() + 20_000))).toBe(10_000);
  expect(waitOf(ACCOUNT_LIMIT, now, now)).toBe(1);
});

test("an account has one bucket, whatever the case of its email; buckets of different kinds never meet", () => {
  expect(accountKey("Ada@Example.com")).toEqual(accountKey("ada@example.com"));
  expect(new Set([accountKey("x"), addressKey("x"), passwordKey("x")].map(String)).size).toBe(3);
});

test("an IPv4 address has a bucket of its own, an IPv6 network of 64 bits one for all", () => {
  const key = (address: string) => addressKey(address).toString("hex");
  expect(key("::ffff:192.0.2.1")).toBe(key("192.0.2.1"));
  expect(key("192.0.2.2")).not.toBe(key("192.0.2.1"));
  expect(key("2001:DB8:0:1::5")).toBe(key("2001:db8::1:ffff:ffff:ffff:ffff"));
  expect(key("2001:db8:0:2::5")).not.toBe(key("2001:db8:0:1::5"));
  expect(key("fe80::1%eth0")).toBe(key("fe80:0:0:0::2"));
  expect(key("::1")).toBe(key("::"));
  expect(key("no address")).not.toBe(key("::1"));
});
