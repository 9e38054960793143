/** Where a payment stands. */
export type PaymentState = "PENDING" | "REQUIRES_ACTION" | "AUTHORIZED" | "CAPTURED" | "DECLINED" | "VOIDED";

/** Something that the provider is asked for. */
export type OperationKind = "AUTHORIZE" | "CAPTURE" | "VOID" | "REFUND";

export type OperationState = "PENDING" | "SUCCEEDED" | "FAILED";

/** What is wrong with a payment, for a person to look at. */
export type Problem =
  /** Paid, or held, for an order that there is not, or that takes no money. */
  | "PAID_WITHOUT_ORDER"
  /** The provider moved another amount than was asked for. */
  | "AMOUNT_MISMATCH"
  /** The provider did something that nobody here asked for, or that was given up. */
  | "PROVIDER_DIFFERS"
  /** What is held could not be given back. */
  | "VOID_FAILED";

/** The payment of one order. Amounts are minor units of its currency. */
export interface Payment {
  readonly id: string;
  readonly orderId: string;
  /** Undefined where it was voided before it came; it then has no currency and no amount. */
  readonly userId: string | undefined;
  readonly currency: string;
  readonly amountMinor: bigint;
  readonly state: PaymentState;
  readonly authorizedMinor: bigint;
  readonly capturedMinor: bigint;
  /** Asked for to be paid back, and not settled. */
  readonly refundingMinor: bigint;
  readonly refundedMinor: bigint;
  readonly provider: string;
  readonly methodToken: string;
  /** Empty as long as the provider told none. */
  readonly providerReference: string;
  readonly declineCode: string;
  /** Why it cannot be captured; empty where nothing is known against it. */
  readonly captureFailure: string;
  readonly redirectUrl: string;
  readonly problem: Problem | "";
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** Oldest first. */
  readonly operations: readonly Operation[];
}

/** What the provider was asked for, or is to be. */
export interface Operation {
  /** The provider's key of it; of a refund also its id. */
  readonly id: string;
  readonly kind: OperationKind;
  readonly amountMinor: bigint;
  readonly state: OperationState;
  readonly failureCode: string;
  /** Of a refund, in words. */
  readonly reason: string;
  readonly createdAt: Date;
}

/** The one operation of a kind; refunds are found by their ids. */
export function operationOf(payment: Payment, kind: Exclude<OperationKind, "REFUND">): Operation | undefined {
  return payment.operations.find((operation) => operation.kind === kind);
}

export function isCapturePending(payment: Payment): boolean {
  return operationOf(payment, "CAPTURE")?.state === "PENDING";
}

/** What a request to capture does: asks the provider, nothing, or it is refused. */
export function decideCapture(payment: Payment): "capture" | "nothing" | "failed" | "wrong state" {
  if (payment.captureFailure !== "") return "failed";
  if (payment.state === "CAPTURED" || isCapturePending(payment)) return "nothing";
  return payment.state === "AUTHORIZED" ? "capture" : "wrong state";
}

/** What a request to void does. Once it was asked to capture, the money may be taken. */
export function decideVoid(payment: Payment): "void" | "nothing" | "wrong state" {
  if (payment.state === "VOIDED" || payment.state === "DECLINED") return "nothing";
  const capture = operationOf(payment, "CAPTURE");
  return capture && capture.state !== "FAILED" ? "wrong state" : "void";
}

/** What can still be paid back. */
export function refundableMinor(payment: Payment): bigint {
  return payment.capturedMinor - payment.refundedMinor - payment.refundingMinor;
}

/** Whether the shop has, or may take, money of the buyer. */
export function holdsMoney(payment: Pick<Payment, "state" | "capturedMinor" | "refundedMinor">): boolean {
  return payment.state === "AUTHORIZED" || payment.capturedMinor > payment.refundedMinor;
}

const FIRST_WAIT_MS = 1_000;
const QUICK_WAIT_MS = 5_000;
const SLOW_WAIT_MS = 60_000;
/** Tries, of which the first take about a minute. */
const QUICK_TRIES = 14;

/**
 * Milliseconds to the next look at an operation. One that the provider did not answer is never left alone for long: it
 * is to be settled soon after the provider comes back. Where it answered and nothing has changed, webhooks tell.
 */
export function waitAfter(tries: number, isAnswered: boolean): number {
  const quick = Math.min(FIRST_WAIT_MS * 2 ** Math.min(Math.max(0, tries - 1), 10), QUICK_WAIT_MS);
  if (!isAnswered || tries <= QUICK_TRIES) return quick;
  return Math.min(quick * 2 ** Math.min(tries - QUICK_TRIES, 10), SLOW_WAIT_MS);
}

const MINUTE_MS = 60_000;
const WEEK_MS = 7 * 86_400_000;

/**
 * Milliseconds until a payment's order is looked at again. What is wrong, or not taken yet, soon; what was right for long
 * more and more seldom, so that old payments cost next to nothing.
 */
export function checkAgainAfter(ageMs: number, isUrgent: boolean): number {
  return isUrgent ? MINUTE_MS : Math.min(Math.max(ageMs, MINUTE_MS), WEEK_MS);
}

const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;

/** Whether a text that the provider sent can be an id of ours. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}
