import { describe, expect, test } from "vitest";
import type { OperationState, Payment, PaymentState } from "./payment.ts";
import { checkAgainAfter, decideCapture, decideVoid, isUuid, refundableMinor, waitAfter } from "./payment.ts";

const bare = { captureFailure: "", operations: [], capturedMinor: 0n, refundedMinor: 0n, refundingMinor: 0n };

function payment(state: PaymentState, capture?: OperationState, captureFailure = ""): Payment {
  const operations = capture === undefined ? [] : [{ id: "capture", kind: "CAPTURE", state: capture }];
  return { ...bare, state, captureFailure, operations } as unknown as Payment;
}

describe("what may be done", () => {
  test.each([
    ["PENDING", undefined, "wrong state", "void"],
    ["REQUIRES_ACTION", undefined, "wrong state", "void"],
    ["AUTHORIZED", undefined, "capture", "void"],
    ["AUTHORIZED", "PENDING", "nothing", "wrong state"],
    ["CAPTURED", "SUCCEEDED", "nothing", "wrong state"],
    ["DECLINED", undefined, "wrong state", "nothing"],
    ["VOIDED", undefined, "wrong state", "nothing"],
  ] as const)("with %s and a capture that is %s: capture: %s, void: %s", (state, capture, capturing, voiding) => {
    expect(decideCapture(payment(state, capture))).toBe(capturing);
    expect(decideVoid(payment(state, capture))).toBe(voiding);
  });

  test("a capture that failed stays failed, and the payment can be voided", () => {
    const failed = payment("AUTHORIZED", "FAILED", "expired_card");
    expect(decideCapture(failed)).toBe("failed");
    expect(decideVoid(failed)).toBe("void");
  });

  test("what is on its way back is not paid back again", () => {
    const captured = { ...payment("CAPTURED"), capturedMinor: 100n, refundedMinor: 30n, refundingMinor: 50n };
    expect(refundableMinor(captured)).toBe(20n);
  });
});

describe("waits", () => {
  test("without an answer they never grow over five seconds", () => {
    expect([1, 2, 3, 4, 1_000].map((tries) => waitAfter(tries, false))).toEqual([1000, 2000, 4000, 5000, 5000]);
  });

  test("with one they grow to a minute, after about a minute", () => {
    const waits = Array.from({ length: 30 }, (_, at) => waitAfter(at + 1, true));
    expect(waits.slice(0, 14).reduce((sum, ms) => sum + ms, 0)).toBeGreaterThanOrEqual(60_000);
    expect(waits.at(-1)).toBe(60_000);
  });

  test("an old payment that was right is looked at once a week", () => {
    expect(checkAgainAfter(10, false)).toBe(60_000);
    expect(checkAgainAfter(3_600_000, false)).toBe(3_600_000);
    expect(checkAgainAfter(1e12, false)).toBe(7 * 86_400_000);
    expect(checkAgainAfter(1e12, true)).toBe(60_000);
  });
});

test("an id that is none of ours is not taken for one", () => {
  expect(isUuid("0199d2f0-0000-7000-8000-0000000000ad")).toBe(true);
  expect(["", "pay_1", "0199d2f0-0000-7000-8000-0000000000ad ", "'; --"].some(isUuid)).toBe(false);
});
