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

test("goods leave once it is confirmed, nobody cancels it, and not all of its money goes back", () => {
  const order = { state: "CONFIRMED", cancelRequested: false, refundsMinor: 0n, totalMinor: 100n } as const;
  expect(states.filter((state) => mayBeFulfilled({ ...order, state }))).toEqual(["CONFIRMED"]);
  expect(mayBeFulfilled({ ...order, cancelRequested: true })).toBe(false);
  expect(mayBeFulfilled({ ...order, refundsMinor: 99n })).toBe(true);
  expect(mayBeFulfilled({ ...order, refundsMinor: 100n })).toBe(false);
  expect(mayBeFulfilled({ ...order, totalMinor: 0n })).toBe(true);
});
