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

/** Units of a line, with what they cost less discounts and with tax. */
export interface RefundLine {
  /** The number of the line, from 1. */
  readonly number: number;
  readonly quantity: number;
  readonly minor: bigint;
}

export type RefundState = "PENDING" | "SUCCEEDED" | "FAILED";

/** Money of an order that goes back, in minor units of the order's currency. */
export interface Refund {
  readonly id: string;
  readonly minor: bigint;
  readonly state: RefundState;
  readonly reason: string;
  readonly lines: readonly RefundLine[];
  readonly restock: boolean;
  /** With FAILED. */
  readonly failureCode: string;
  readonly createdAt: Date;
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
  readonly paymentMethodId: string | undefined;
  readonly shippingAddress: Address | undefined;
  readonly billingAddress: Address | undefined;
  readonly nextAction: { readonly redirectUrl: string } | undefined;
  readonly expiresAt: Date | undefined;
  /** It is to be cancelled, and that is not done yet. */
  readonly cancelRequested: boolean;
  /** Oldest first. */
  readonly refunds: readonly Refund[];
  /** The sum of the refunds that have not failed. */
  readonly refundsMinor: bigint;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What is done for an order; most leave its state as it is. */
export type OrderStep =
  | "PLACED"
  | "STOCK_RESERVED"
  | "PAYMENT_ACTION_REQUIRED"
  | "PAYMENT_AUTHORIZED"
  | "STOCK_COMMITTED"
  | "CONFIRMED"
  | "PAYMENT_VOIDED"
  | "STOCK_RELEASED"
  | "REJECTED"
  | "CANCEL_REQUESTED"
  | "CANCELLED"
  | "REFUND_REQUESTED"
  | "REFUNDED"
  | "REFUND_FAILED"
  | "STOCK_RETURNED"
  | "FULFILLED"
  | "DELIVERED";

/** One row of an order's history, as it is written. */
export interface HistoryEntry {
  readonly step: OrderStep;
  /** In words, for people who look after the shop. */
  readonly message: string;
}

/** One row of an order's history. */
export interface OrderTransition extends HistoryEntry {
  /** From 1 without gaps. */
  readonly position: bigint;
  readonly state: OrderState;
  readonly why: Reason;
  readonly occurredAt: Date;
}

/** The step of a row that a release wrote which knew no steps. */
export function stepOf(state: OrderState): OrderStep {
  if (state === "PENDING") return "PLACED";
  return state === "AWAITING_PAYMENT" ? "PAYMENT_ACTION_REQUIRED" : state;
}

/**
 * What a request to cancel does to an order: what is under way is undone, what is confirmed is paid back, nothing, or it
 * is too late.
 */
export function decideCancel(
  order: Pick<Order, "state" | "cancelRequested">,
): "undo" | "pay back" | "nothing" | "too late" {
  if (order.state === "CANCELLED" || order.cancelRequested) return "nothing";
  if (order.state === "PENDING" || order.state === "AWAITING_PAYMENT") return "undo";
  return order.state === "CONFIRMED" ? "pay back" : "too late";
}

/** Whether money of an order can be paid back. */
export function isRefundable({ state, cancelRequested }: Pick<Order, "state" | "cancelRequested">): boolean {
  return !cancelRequested && (state === "CONFIRMED" || state === "FULFILLED" || state === "DELIVERED");
}

/** Whether the goods may leave: it is confirmed, nobody cancels it, and neither all money nor all units go back. */
export function mayBeFulfilled(
  order: Pick<Order, "state" | "cancelRequested" | "refundsMinor" | "totalMinor" | "lines" | "refunds">,
): boolean {
  if (order.state !== "CONFIRMED" || order.cancelRequested) return false;
  const isPaid = order.totalMinor === 0n || order.refundsMinor < order.totalMinor;
  return isPaid && order.lines.some(({ number, quantity }) => unitsBack(order, number) < quantity);
}

/** Units of a line that go back. A refund that has failed does not count. */
function unitsBack({ refunds }: Pick<Order, "refunds">, number: number): number {
  const lines = refunds.filter(({ state }) => state !== "FAILED").flatMap((refund) => refund.lines);
  return lines.filter((line) => line.number === number).reduce((sum, { quantity }) => sum + quantity, 0);
}
