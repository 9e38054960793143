import { expect, test } from "vitest";
import type { OrderState } from "./order.ts";
import { decideCancel, isFinal, mayBecome } from "./order.ts";

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

test("a request to cancel is decided by the state alone", () => {
  expect(states.map((state) => decideCancel(state))).toEqual([
    "cancel",
    "cancel",
    "too late",
    "too late",
    "too late",
    "too late",
    "nothing",
  ]);
});

test("whatever may be cancelled may become CANCELLED", () => {
  const cancellable = states.filter((state) => decideCancel(state) === "cancel");
  expect(cancellable.filter((state) => !mayBecome(state, "CANCELLED"))).toEqual([]);
});
