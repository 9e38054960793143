import { describe, expect, test } from "vitest";
import type { Standing } from "./payment.ts";
import { authorized, refusalOf, scriptOf, testTokens } from "./payment.ts";

const standing: Standing = { state: "authorized", amountMinor: 100n, capturedMinor: 0n, refundedMinor: 0n };

describe("what may be done with a payment", () => {
  test.each([
    ["capture", { state: "authorized" }, 100n, undefined],
    ["capture", { state: "authorized" }, 101n, "amount_too_large"],
    ["capture", { state: "authorized" }, 0n, "amount_too_large"],
    ["capture", { state: "captured", capturedMinor: 100n }, 100n, "not_authorized"],
    ["capture", { state: "voided" }, 100n, "not_authorized"],
    ["void", { state: "requires_action" }, 0n, undefined],
    ["void", { state: "captured" }, 0n, "not_authorized"],
    ["refund", { state: "captured", capturedMinor: 100n, refundedMinor: 60n }, 40n, undefined],
    ["refund", { state: "captured", capturedMinor: 100n, refundedMinor: 60n }, 41n, "amount_too_large"],
    ["refund", { state: "authorized" }, 1n, "not_captured"],
  ] as const)("%s of %o", (operation, change, minor, code) => {
    expect(refusalOf(operation, { ...standing, ...change }, minor)).toBe(code);
  });
});

describe("test tokens", () => {
  test("begin as their script says", () => {
    expect(authorized(scriptOf("tok_approved") ?? {})).toBe("authorized");
    expect(authorized(scriptOf("tok_declined") ?? {})).toBe("declined");
    expect(authorized(scriptOf("tok_requires_action") ?? {})).toBe("requires_action");
  });

  test("are a closed list", () => {
    expect(scriptOf("4242424242424242")).toBeUndefined();
    expect(scriptOf("toString")).toBeUndefined();
    expect(new Set(testTokens.map((token) => scriptOf(token)?.lastDigits)).size).toBe(testTokens.length);
  });
});
