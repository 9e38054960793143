import type { Adjustment, PricedLine } from "./pricing.ts";

/** Where an order stands. */
export type OrderState =
  | "PENDING"
  | "AWAITING_PAYMENT"
  | "CONFIRMED"
  | "FULFILLED"
  | "DELIVERED"
  | "REJECTED"
  | "CANCELLED";

/** The transitions that are allowed; nothing leaves a final state. */
const transitions: Readonly<Record<OrderState, readonly OrderState[]>> = {
  PENDING: ["AWAITING_PAYMENT", "CONFIRMED", "REJECTED", "CANCELLED"],
  AWAITING_PAYMENT: ["CONFIRMED", "REJECTED", "CANCELLED"],
  CONFIRMED: ["FULFILLED", "CANCELLED"],
  FULFILLED: ["DELIVERED"],
  DELIVERED: [],
  REJECTED: [],
  CANCELLED: [],
};

export function mayBecome(from: OrderState, to: OrderState): boolean {
  return transitions[from].includes(to);
}

export function isFinal(state: OrderState): boolean {
  return transitions[state].length === 0;
}

/** Whether a call that waits for the order to settle has its answer. */
export function isSettled(state: OrderState): boolean {
  return state !== "PENDING";
}

/** Why an order is in its state: UPPER_SNAKE, with values that belong to it. Empty where the state says all. */
export interface Reason {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export const noReason: Reason = { reason: "", metadata: {} };

/** A postal address, as it came. */
export interface Address {
  readonly name: string;
  readonly lines: readonly string[];
  readonly city: string;
  readonly region: string;
  readonly postalCode: string;
  readonly countryCode: string;
  readonly phone: string;
}

/** An order as it is recorded. Amounts are minor units of its one currency. */
export interface Order {
  readonly id: string;
  readonly userId: string;
  readonly state: OrderState;
  readonly why: Reason;
  readonly currency: string;
  readonly lines: readonly PricedLine[];
  readonly adjustments: readonly Adjustment[];
  readonly itemsMinor: bigint;
  readonly totalMinor: bigint;
  readonly paymentMethodToken: string | undefined;
  readonly shippingAddress: Address | undefined;
  readonly billingAddress: Address | undefined;
  readonly nextAction: { readonly redirectUrl: string } | undefined;
  readonly expiresAt: Date | undefined;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** One step of an order's history. */
export interface OrderTransition {
  /** From 1 without gaps. */
  readonly position: bigint;
  readonly state: OrderState;
  readonly why: Reason;
  readonly occurredAt: Date;
}

/** What a request to cancel does to an order: a new state, nothing, or it is too late. */
export function decideCancel(state: OrderState): "cancel" | "nothing" | "too late" {
  if (state === "CANCELLED") return "nothing";
  return state === "PENDING" || state === "AWAITING_PAYMENT" ? "cancel" : "too late";
}
