import { expect, test } from "vitest";
import type { OrderState } from "./order.ts";
import { decideCancel, isFinal, isRefundable, mayBeFulfilled, mayBecome } from "./order.ts";

const states = [
  "PENDING",
  "AWAITING_PAYMENT",
  "CONFIRMED",
  "FULFILLED",
  "DELIVERED",
  "REJECTED",
  "CANCELLED",
] as const satisfies readonly OrderState[];

test("nothing leaves a final state, and nothing returns to PENDING", () => {
  expect(states.filter(isFinal)).toEqual(["DELIVERED", "REJECTED", "CANCELLED"]);
  for (const state of states) expect(mayBecome(state, "PENDING")).toBe(false);
  for (const final of states.filter(isFinal)) for (const next of states) expect(mayBecome(final, next)).toBe(false);
});

test("a request to cancel is decided by the state, and noted once", () => {
  const decide = (cancelRequested: boolean) => states.map((state) => decideCancel({ state, cancelRequested }));
  const late = "too late";
  expect(decide(false)).toEqual(["undo", "undo", "pay back", late, late, late, "nothing"]);
  expect(new Set(decide(true))).toEqual(new Set(["nothing"]));
});

test("whatever may be cancelled may become CANCELLED", () => {
  const cancellable = states.filter((state) => decideCancel({ state, cancelRequested: false }) !== "too late");
  expect(cancellable.filter((state) => state !== "CANCELLED" && !mayBecome(state, "CANCELLED"))).toEqual([]);
});

test("what is paid can be paid back, unless it is being cancelled", () => {
  const refundable = (cancelRequested: boolean) => states.filter((state) => isRefundable({ state, cancelRequested }));
  expect(refundable(false)).toEqual(["CONFIRMED", "FULFILLED", "DELIVERED"]);
  expect(refundable(true)).toEqual([]);
});

test("goods leave once it is confirmed, nobody cancels it, and neither all money nor all units go back", () => {
  const line = { number: 1, sku: "S", productId: "", title: "", options: {}, taxCategory: "" };
  const lines = [{ ...line, unitMinor: 50n, quantity: 2, amountMinor: 100n }];
  const order = {
    state: "CONFIRMED",
    cancelRequested: false,
    refundsMinor: 0n,
    totalMinor: 150n,
    lines,
    refunds: [],
  } as const;
  const back = (quantity: number, state: "SUCCEEDED" | "FAILED" = "SUCCEEDED") => ({
    id: "",
    minor: 1n,
    reason: "",
    restock: true,
    failureCode: "",
    createdAt: new Date(0),
    state,
    lines: [{ number: 1, quantity, minor: 1n }],
  });
  expect(states.filter((state) => mayBeFulfilled({ ...order, state }))).toEqual(["CONFIRMED"]);
  expect(mayBeFulfilled({ ...order, cancelRequested: true })).toBe(false);
  expect(mayBeFulfilled({ ...order, refundsMinor: 149n })).toBe(true);
  expect(mayBeFulfilled({ ...order, refundsMinor: 150n })).toBe(false);
  expect(mayBeFulfilled({ ...order, totalMinor: 0n })).toBe(true);
  expect(mayBeFulfilled({ ...order, refunds: [back(1)] })).toBe(true);
  expect(mayBeFulfilled({ ...order, refunds: [back(1), back(1)] })).toBe(false);
  expect(mayBeFulfilled({ ...order, refunds: [back(2, "FAILED")] })).toBe(true);
});
