import { describe, expect, test } from "vitest";
import type { Operation, Payment } from "./payment.ts";
import type { ProviderPayment, ProviderRefund } from "./provider.ts";
import type { Settlement } from "./settlement.ts";
import { failedWith, settledBy } from "./settlement.ts";

const at = new Date(0);

function operation(kind: Operation["kind"], amountMinor = 100n, id: string = kind): Operation {
  return { id, kind, amountMinor, state: "PENDING", failureCode: "", reason: "", createdAt: at };
}

const pending: Payment = {
  id: "payment",
  orderId: "order",
  userId: "user",
  currency: "EUR",
  amountMinor: 100n,
  state: "PENDING",
  authorizedMinor: 0n,
  capturedMinor: 0n,
  refundingMinor: 0n,
  refundedMinor: 0n,
  provider: "sandbox",
  methodToken: "tok",
  providerReference: "",
  declineCode: "",
  captureFailure: "",
  redirectUrl: "",
  problem: "",
  version: 1,
  createdAt: at,
  updatedAt: at,
  operations: [operation("AUTHORIZE")],
};

const seen: ProviderPayment = {
  reference: "pay_1",
  paymentId: "payment",
  orderId: "order",
  state: "authorized",
  amount: { currency: "EUR", minor: 100n },
  capturedMinor: 0n,
  declineCode: "",
  redirectUrl: "",
  refunds: [],
};
const captured: ProviderPayment = { ...seen, state: "captured", capturedMinor: 100n };

const authorized = settledBy(pending, seen).payment;
const capturing: Payment = { ...authorized, operations: [...authorized.operations, operation("CAPTURE")] };
const paid = settledBy(capturing, captured).payment;

function refunding(...amounts: bigint[]): Payment {
  const refunds = amounts.map((minor, index) => operation("REFUND", minor, `refund ${String(index)}`));
  const refundingMinor = amounts.reduce((sum, minor) => sum + minor, 0n);
  return { ...paid, refundingMinor, operations: [...paid.operations, ...refunds] };
}

function withRefunds(...refunds: Partial<ProviderRefund>[]): ProviderPayment {
  const whole = refunds.map((refund): ProviderRefund => {
    return { key: "refund 0", minor: 30n, state: "succeeded", failureCode: "", ...refund };
  });
  return { ...captured, refunds: whole };
}

const namesOf = ({ happened }: Settlement) => happened.map(({ name }) => name);

describe("an authorization", () => {
  test("is settled by what holds the amount", () => {
    const settlement = settledBy(pending, seen);
    expect(settlement.payment).toMatchObject({
      state: "AUTHORIZED",
      authorizedMinor: 100n,
      providerReference: "pay_1",
    });
    expect(namesOf(settlement)).toEqual(["authorized"]);
    expect(settlement.settled).toMatchObject([{ kind: "AUTHORIZE", state: "SUCCEEDED" }]);
  });

  test("waits where the provider is at it, and for the buyer", () => {
    expect(settledBy(pending, { ...seen, state: "pending" })).toMatchObject({ settled: [], happened: [] });
    const asked = settledBy(pending, { ...seen, state: "requires action", redirectUrl: "https://bank" });
    expect(asked.payment).toMatchObject({ state: "REQUIRES_ACTION", redirectUrl: "https://bank" });
    expect(namesOf(asked)).toEqual(["actionRequired"]);
    expect(settledBy(asked.payment, { ...seen, state: "requires action" }).happened).toEqual([]);
    expect(settledBy(asked.payment, seen).payment).toMatchObject({ state: "AUTHORIZED", redirectUrl: "" });
  });

  test("that is declined is final", () => {
    const declined = settledBy(pending, { ...seen, state: "declined", declineCode: "no_money" }).payment;
    expect(declined).toMatchObject({ state: "DECLINED", declineCode: "no_money" });
    expect(settledBy(declined, seen)).toMatchObject({ payment: { state: "DECLINED" }, settled: [], happened: [] });
  });

  test("of a voided payment leaves it voided, and is given back", () => {
    for (const state of ["authorized", "requires action", "pending"] as const) {
      const late = settledBy({ ...pending, state: "VOIDED" }, { ...seen, state });
      expect(late).toMatchObject({ payment: { state: "VOIDED" }, needsVoid: true, happened: [] });
      const asked = { ...late.payment, operations: [...late.payment.operations, operation("VOID")] };
      expect(settledBy(asked, { ...seen, state }).needsVoid).toBe(false);
    }
    expect(settledBy({ ...pending, state: "VOIDED" }, { ...seen, state: "declined" }).needsVoid).toBe(false);
  });

  test.each([
    ["less", { currency: "EUR", minor: 99n }, 99n, "amount_mismatch"],
    ["more", { currency: "EUR", minor: 101n }, 101n, ""],
    ["of another currency", { currency: "USD", minor: 100n }, 0n, "amount_mismatch"],
  ])("of %s than was asked for is a problem", (_what, amount, authorizedMinor, captureFailure) => {
    const settlement = settledBy(pending, { ...seen, amount });
    expect(settlement.payment).toMatchObject({ problem: "AMOUNT_MISMATCH", authorizedMinor, captureFailure });
    expect(settlement.complaints).toHaveLength(1);
  });
});

describe("a capture", () => {
  test("is booked once", () => {
    const settlement = settledBy(capturing, captured);
    expect(settlement.payment).toMatchObject({ state: "CAPTURED", capturedMinor: 100n });
    expect(settlement.booked).toEqual([{ operationId: "CAPTURE", kind: "CAPTURE", minor: 100n }]);
    expect(settledBy(settlement.payment, captured)).toMatchObject({ settled: [], booked: [], happened: [] });
  });

  test("is not settled by an older sight", () => {
    expect(settledBy(capturing, seen)).toMatchObject({ payment: { state: "AUTHORIZED" }, settled: [], complaints: [] });
    expect(settledBy(paid, seen)).toMatchObject({ payment: { state: "CAPTURED" }, happened: [], complaints: [] });
  });

  test("fails where nothing is held any more", () => {
    const settlement = settledBy(capturing, { ...seen, state: "voided" });
    expect(settlement.payment).toMatchObject({ state: "AUTHORIZED", captureFailure: "voided" });
    expect(namesOf(settlement)).toEqual(["captureFailed"]);
  });

  test("of another amount is booked as it was", () => {
    const settlement = settledBy(capturing, { ...captured, capturedMinor: 60n });
    expect(settlement.payment).toMatchObject({ capturedMinor: 60n, problem: "AMOUNT_MISMATCH" });
    expect(settlement.booked).toMatchObject([{ minor: 60n }]);
    expect(settledBy(capturing, { ...captured, capturedMinor: 101n }).payment).toMatchObject({ capturedMinor: 100n });
  });

  test("that nobody asked for is a problem, and not booked", () => {
    for (const payment of [authorized, pending, { ...authorized, state: "VOIDED" } as const]) {
      const settlement = settledBy(payment, captured);
      expect(settlement).toMatchObject({ payment: { problem: "PROVIDER_DIFFERS" }, booked: [], needsVoid: false });
      expect(settledBy(settlement.payment, captured).complaints).toEqual([]);
    }
  });
});

describe("a refund", () => {
  test("is settled by its own key, each by itself", () => {
    const first = settledBy(refunding(30n, 70n), withRefunds({ key: "refund 1", minor: 70n }));
    expect(first.payment).toMatchObject({ refundedMinor: 70n, refundingMinor: 30n });
    expect(first.happened).toEqual([{ name: "refunded", refundId: "refund 1" }]);
    const second = settledBy(first.payment, withRefunds({ key: "refund 1", minor: 70n }, { key: "refund 0" }));
    expect(second.payment).toMatchObject({ refundedMinor: 100n, refundingMinor: 0n });
    expect(second.booked).toEqual([{ operationId: "refund 0", kind: "REFUND", minor: 30n }]);
  });

  test("that is pending waits; one that failed leaves the money", () => {
    expect(settledBy(refunding(30n), withRefunds({ state: "pending" })).settled).toEqual([]);
    const failed = settledBy(refunding(30n), withRefunds({ state: "failed", failureCode: "closed" }));
    expect(failed.payment).toMatchObject({ refundedMinor: 0n, refundingMinor: 0n });
    expect(failed).toMatchObject({ booked: [], happened: [{ name: "refundFailed" }] });
  });

  test("of another amount is booked as it was, as far as there is money", () => {
    expect(settledBy(refunding(30n), withRefunds({ minor: 20n })).payment).toMatchObject({ refundedMinor: 20n });
    const over = settledBy(refunding(30n, 70n), withRefunds({ minor: 50n }));
    expect(over.payment).toMatchObject({ refundedMinor: 30n, refundingMinor: 70n, problem: "AMOUNT_MISMATCH" });
  });

  test("that nobody asked for is a problem", () => {
    const settlement = settledBy(paid, withRefunds({ key: "of somebody else" }));
    expect(settlement).toMatchObject({ payment: { problem: "PROVIDER_DIFFERS" }, booked: [] });
  });
});

describe("the end without success", () => {
  test("of an operation that is settled changes nothing", () => {
    expect(failedWith(authorized, "AUTHORIZE", "expired")).toMatchObject({ settled: [], payment: authorized });
  });

  test("of each operation", () => {
    expect(failedWith(pending, "AUTHORIZE", "expired").payment).toMatchObject({
      state: "DECLINED",
      declineCode: "expired",
    });
    expect(failedWith(capturing, "CAPTURE", "no").payment).toMatchObject({ state: "AUTHORIZED", captureFailure: "no" });
    expect(failedWith(refunding(30n), "refund 0", "no").payment).toMatchObject({ refundingMinor: 0n });
    const voided: Payment = { ...authorized, state: "VOIDED", operations: [operation("VOID")] };
    expect(failedWith(voided, "VOID", "expired").payment).toMatchObject({ state: "VOIDED", problem: "VOID_FAILED" });
  });
});
