import type { Operation, OperationState, Payment, Problem } from "./payment.ts";
import { operationOf } from "./payment.ts";
import type { ProviderPayment, ProviderRefund } from "./provider.ts";

/** Something that others are told of. */
export type Happening =
  | { readonly name: "actionRequired" | "authorized" | "declined" | "captured" | "captureFailed" | "voided" }
  | { readonly name: "refunded" | "refundFailed"; readonly refundId: string };

/** Money that was moved, to be written to the ledger. */
export interface Booking {
  readonly operationId: string;
  readonly kind: "CAPTURE" | "REFUND";
  readonly minor: bigint;
}

/** What becomes of a payment by what was learned of it. */
export interface Settlement {
  /** As it is then. */
  readonly payment: Payment;
  /** The operations whose outcome is now known. */
  readonly settled: readonly Operation[];
  readonly booked: readonly Booking[];
  readonly happened: readonly Happening[];
  /** The payment is voided, and the provider is still to be told. */
  readonly needsVoid: boolean;
  /** What is to be logged: things that a correct provider does not do. */
  readonly complaints: readonly string[];
}

/**
 * What a sight of the provider's payment settles. It may be old, or of something else than was asked for just now: only
 * what it shows to be done is settled, and each operation once. So the same sight again changes nothing.
 */
export function settledBy(payment: Payment, seen: ProviderPayment): Settlement {
  const draft = new Draft(payment);
  draft.set({ providerReference: payment.providerReference || seen.reference });
  settleAuthorization(draft, seen);
  settleCapture(draft, seen);
  settleVoid(draft, seen);
  for (const refund of seen.refunds) settleRefund(draft, refund);
  complainOfStrangers(draft, seen);
  if (holdsForNobody(draft.payment, seen)) draft.needsVoid = true;
  return draft;
}

/**
 * Whether it may be news that the provider has a payment in a state, or that it did something else: what was done here
 * comes back as a webhook, too.
 */
export function isNews({ state }: Payment, told: ProviderPayment["state"] | undefined): boolean {
  switch (told) {
    case "pending":
    case "requires action":
      return false;
    case "authorized":
      return state !== "AUTHORIZED" && state !== "CAPTURED";
    case "captured":
      return state !== "CAPTURED";
    case "voided":
    case "declined":
      return state !== "VOIDED" && state !== "DECLINED";
    case undefined:
      return true;
  }
}

/** What the end of an operation without success means: the provider refused, or can no longer be asked. */
export function failedWith(payment: Payment, operationId: string, code: string): Settlement {
  const draft = new Draft(payment);
  const operation = draft.pending(operationId);
  if (operation) fail(draft, operation, code);
  return draft;
}

/** The settlement under way: the payment as it is so far, and what came of it. */
class Draft implements Settlement {
  payment: Payment;
  needsVoid = false;
  readonly settled: Operation[] = [];
  readonly booked: Booking[] = [];
  readonly happened: Happening[] = [];
  readonly complaints: string[] = [];

  constructor(payment: Payment) {
    this.payment = payment;
  }

  set(change: Partial<Payment>): void {
    this.payment = { ...this.payment, ...change };
  }

  pending(id: string | undefined): Operation | undefined {
    return this.payment.operations.find((operation) => operation.id === id && operation.state === "PENDING");
  }

  settle(operation: Operation, state: OperationState, failureCode = ""): void {
    const settled = { ...operation, state, failureCode };
    this.settled.push(settled);
    this.set({ operations: this.payment.operations.map((one) => (one.id === operation.id ? settled : one)) });
  }

  complain(problem: Problem, complaint: string): void {
    if (this.payment.problem === problem) return;
    this.complaints.push(complaint);
    // The first one stays: what comes after it often follows from it.
    if (this.payment.problem === "" || this.payment.problem === "PAID_WITHOUT_ORDER") this.set({ problem });
  }
}

function settleAuthorization(draft: Draft, seen: ProviderPayment): void {
  const operation = draft.pending(operationOf(draft.payment, "AUTHORIZE")?.id);
  if (!operation) return;
  switch (seen.state) {
    case "pending":
      return;
    case "requires action":
      requireAction(draft, seen.redirectUrl);
      return;
    case "declined":
      fail(draft, operation, seen.declineCode || "declined");
      return;
    case "voided":
      fail(draft, operation, "voided");
      return;
    case "authorized":
    case "captured":
      authorize(draft, operation, seen);
  }
}

function requireAction(draft: Draft, redirectUrl: string): void {
  const { state } = draft.payment;
  if (state === "VOIDED") return;
  draft.set({ state: "REQUIRES_ACTION", redirectUrl });
  if (state === "PENDING") draft.happened.push({ name: "actionRequired" });
}

function authorize(draft: Draft, operation: Operation, { amount }: ProviderPayment): void {
  const { state, currency, amountMinor } = draft.payment;
  draft.settle(operation, "SUCCEEDED");
  const authorizedMinor = amount.currency === currency ? amount.minor : 0n;
  draft.set({ authorizedMinor, redirectUrl: "" });
  if (authorizedMinor !== amountMinor) {
    draft.complain("AMOUNT_MISMATCH", "another amount was authorized than was asked for");
    // Less than the order costs is not taken: the order is to be given up.
    if (authorizedMinor < amountMinor) draft.set({ captureFailure: "amount_mismatch" });
  }
  if (state === "VOIDED") return;
  draft.set({ state: "AUTHORIZED" });
  draft.happened.push({ name: "authorized" });
}

function settleCapture(draft: Draft, seen: ProviderPayment): void {
  const operation = draft.pending(operationOf(draft.payment, "CAPTURE")?.id);
  if (!operation) return;
  if (seen.state === "voided" || seen.state === "declined") fail(draft, operation, "voided");
  if (seen.state !== "captured") return;
  const { authorizedMinor, currency } = draft.payment;
  const taken = seen.amount.currency === currency ? seen.capturedMinor : -1n;
  if (taken !== operation.amountMinor) {
    draft.complain("AMOUNT_MISMATCH", "another amount was captured than was asked for");
  }
  const capturedMinor = taken >= 0n && taken <= authorizedMinor ? taken : operation.amountMinor;
  draft.settle(operation, "SUCCEEDED");
  draft.set({ state: "CAPTURED", capturedMinor });
  draft.booked.push({ operationId: operation.id, kind: "CAPTURE", minor: capturedMinor });
  draft.happened.push({ name: "captured" });
}

function settleVoid(draft: Draft, seen: ProviderPayment): void {
  const operation = draft.pending(operationOf(draft.payment, "VOID")?.id);
  if (!operation) return;
  if (seen.state === "voided" || seen.state === "declined") draft.settle(operation, "SUCCEEDED");
  if (seen.state === "captured") fail(draft, operation, "captured");
}

function settleRefund(draft: Draft, refund: ProviderRefund): void {
  const operation = draft.pending(refund.key);
  if (operation?.kind !== "REFUND" || refund.state === "pending") return;
  if (refund.state === "failed") {
    fail(draft, operation, refund.failureCode || "failed");
    return;
  }
  const { capturedMinor, refundedMinor } = draft.payment;
  const refundingMinor = draft.payment.refundingMinor - operation.amountMinor;
  if (refund.minor !== operation.amountMinor) {
    draft.complain("AMOUNT_MISMATCH", "another amount was refunded than was asked for");
  }
  const isPossible = refund.minor >= 0n && refundedMinor + refundingMinor + refund.minor <= capturedMinor;
  const minor = isPossible ? refund.minor : operation.amountMinor;
  draft.settle(operation, "SUCCEEDED");
  draft.set({ refundingMinor, refundedMinor: refundedMinor + minor });
  draft.booked.push({ operationId: operation.id, kind: "REFUND", minor });
  draft.happened.push({ name: "refunded", refundId: operation.id });
}

function fail(draft: Draft, operation: Operation, code: string): void {
  draft.settle(operation, "FAILED", code);
  switch (operation.kind) {
    case "AUTHORIZE":
      draft.set({ redirectUrl: "" });
      if (draft.payment.state === "VOIDED") return;
      draft.set({ state: "DECLINED", declineCode: code });
      draft.happened.push({ name: "declined" });
      return;
    case "CAPTURE":
      draft.set({ captureFailure: code });
      draft.happened.push({ name: "captureFailed" });
      return;
    case "VOID":
      draft.complain("VOID_FAILED", `what is held was not given back: ${code}`);
      return;
    case "REFUND":
      draft.set({ refundingMinor: draft.payment.refundingMinor - operation.amountMinor });
      draft.happened.push({ name: "refundFailed", refundId: operation.id });
  }
}

/** What the provider did although it was not asked, or no longer. */
function complainOfStrangers(draft: Draft, seen: ProviderPayment): void {
  const { payment } = draft;
  if (payment.providerReference !== seen.reference) {
    draft.complain("PROVIDER_DIFFERS", "the provider has a second payment for this one");
  }
  if (seen.state === "captured" && payment.state !== "CAPTURED") {
    draft.complain("PROVIDER_DIFFERS", "the provider captured what nobody here asked it to");
  }
  if (seen.state === "voided" && payment.state === "AUTHORIZED" && payment.captureFailure === "") {
    draft.complain("PROVIDER_DIFFERS", "the provider gave back what is held, which nobody here asked it to");
    draft.set({ captureFailure: "voided" });
  }
  const asked = new Set(payment.operations.map(({ id }) => id));
  const paid = new Set(payment.operations.filter(({ state }) => state === "SUCCEEDED").map(({ id }) => id));
  if (
    seen.refunds.some(({ key, state }) =>
      state === "succeeded" ? !paid.has(key) : state === "pending" && !asked.has(key),
    )
  ) {
    draft.complain("PROVIDER_DIFFERS", "the provider refunded what nobody here asked it to");
  }
  if (seen.refunds.some(({ key, state }) => state === "failed" && paid.has(key))) {
    draft.complain("PROVIDER_DIFFERS", "a refund that had succeeded came back");
  }
}

/** Whether the provider holds money, or may, for a payment that takes none, and nobody has told it yet. */
function holdsForNobody(payment: Payment, { state }: ProviderPayment): boolean {
  if (operationOf(payment, "VOID")) return false;
  if (payment.state === "DECLINED") return state === "authorized";
  return payment.state === "VOIDED" && (state === "authorized" || state === "requires action" || state === "pending");
}
