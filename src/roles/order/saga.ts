import type { HistoryEntry, Order, OrderState, Reason, Refund } from "./order.ts";
import { noReason } from "./order.ts";
import { words } from "./saga-words.ts";

/** The versions of sagas that this build carries out; others are left to the builds that know them. */
export const SAGA_VERSION = 1;

/**
 * CHECKOUT: RESERVE, AUTHORIZE, COMMIT, CAPTURE; undone by VOID and RELEASE. REFUND: REFUND, RETURN. CANCEL, of an order
 * that is confirmed: SETTLE (until its refunds are settled), REFUND of what is left, RELEASE.
 */
export type SagaKind = "CHECKOUT" | "REFUND" | "CANCEL";

export type SagaStep =
  | "RESERVE"
  | "AUTHORIZE"
  | "COMMIT"
  | "CAPTURE"
  | "VOID"
  | "RELEASE"
  | "SETTLE"
  | "REFUND"
  | "RETURN";

/** How an order that is not carried out ends. */
export interface Outcome {
  readonly state: "REJECTED" | "CANCELLED";
  readonly why: Reason;
}

/** Where a saga stands. */
export interface Saga {
  readonly kind: SagaKind;
  readonly step: SagaStep;
  /** How often this step was begun, this time included: above 1 an earlier attempt may have had its effect. */
  readonly attempts: number;
  /** When the step was reached. */
  readonly stepSince: Date;
  /** How the order ends; known once it is being undone. */
  readonly outcome: Outcome | undefined;
  /** What is paid back; undefined of a CHECKOUT, and of a CANCEL that does not know yet. */
  readonly refund: Pick<Refund, "minor" | "restock" | "lines"> | undefined;
}

/** What became of an attempt of a step. */
export type Answer =
  /** It is done. `until` of RESERVE: when the hold ends. */
  | { readonly case: "done"; readonly until?: Date | undefined }
  /** It was refused for good, and this attempt had no effect. */
  | { readonly case: "refused"; readonly why: Reason }
  /** It was begun, and its outcome is not known yet. */
  | { readonly case: "pending" }
  /** The buyer has to act. */
  | { readonly case: "action"; readonly redirectUrl: string }
  /** Nobody answered: it may have had its effect. */
  | { readonly case: "unknown" }
  /** It was not asked for: the order is to be cancelled. */
  | { readonly case: "skipped" };

/** What follows from an answer; it is written in one transaction. */
export interface Move {
  /** The next step, or the same one again; undefined where the saga is finished. */
  readonly step: SagaStep | undefined;
  /** Milliseconds until it goes on. */
  readonly waitMs: number;
  readonly outcome?: Outcome;
  readonly history: readonly HistoryEntry[];
  readonly order?: OrderChange;
  /** What became of the refund. */
  readonly refund?: { readonly state: "SUCCEEDED" | "FAILED"; readonly failureCode: string };
  /** The order is confirmed and to be cancelled: that is a saga of its own. */
  readonly thenCancel?: boolean;
  /** What the cancellation pays back, in minor units. */
  readonly payBackMinor?: bigint;
}

/** What changes of an order; undefined clears. */
export interface OrderChange {
  readonly state?: OrderState;
  readonly why?: Reason;
  readonly nextAction?: { readonly redirectUrl: string } | undefined;
  readonly expiresAt?: Date | undefined;
  readonly cancelRequested?: boolean;
}

/** Milliseconds. */
export interface SagaLimits {
  /** The pauses after an attempt that brought no answer: doubled from the least to the most. */
  readonly leastPauseMs: number;
  readonly mostPauseMs: number;
  /** Between two questions whether the buyer has acted: doubled from the first to the most. An event comes sooner. */
  readonly askAgainMs: number;
  readonly mostAskAgainMs: number;
  /** What the buyer has for acting. */
  readonly paymentMs: number;
  /** After so long without success a step before the capture gives up. */
  readonly giveUpMs: number;
}

export type SagaOrder = Pick<
  Order,
  "state" | "cancelRequested" | "totalMinor" | "refundsMinor" | "currency" | "expiresAt" | "nextAction" | "lines"
>;

const cancelled: Outcome = { state: "CANCELLED", why: { reason: "CANCEL_REQUESTED", metadata: {} } };

/** Whether a step is not even asked for once the order is to be cancelled. The capture is: it is the pivot. */
export function isSkipped(step: SagaStep, order: Pick<Order, "cancelRequested">): boolean {
  return order.cancelRequested && (step === "RESERVE" || step === "AUTHORIZE" || step === "COMMIT");
}

/** What follows from the answer to a step. The order is as it is at this very moment, locked. */
export function decide(saga: Saga, order: SagaOrder, answer: Answer, now: Date, limits: SagaLimits): Move {
  switch (saga.step) {
    case "RESERVE":
    case "AUTHORIZE":
    case "COMMIT":
      return forward(saga, saga.step, order, answer, now, limits);
    case "CAPTURE":
      return captured(saga, order, answer, limits);
    case "VOID":
      if (answer.case !== "done") return again(saga, limits);
      return to("RELEASE", [words.voided(order)]);
    case "RELEASE":
      if (answer.case !== "done") return again(saga, limits);
      return ended(saga.outcome ?? cancelled, [words.released()]);
    case "SETTLE":
      if (answer.case !== "done") return again(saga, limits);
      return settled(order);
    case "REFUND":
      return refunded(saga, order, answer, limits);
    case "RETURN":
      if (answer.case === "done")
        return { step: undefined, waitMs: 0, history: [words.returned(unitsOf(saga.refund))] };
      // Units that cannot come back will not later either; the log has it.
      return answer.case === "refused" ? { step: undefined, waitMs: 0, history: [] } : again(saga, limits);
  }
}

type ForwardStep = "RESERVE" | "AUTHORIZE" | "COMMIT";

/** Before the pivot everything can be undone: when it is refused, cancelled, expired or takes too long. */
function forward(saga: Saga, step: ForwardStep, order: SagaOrder, answer: Answer, now: Date, limits: SagaLimits): Move {
  const history = answer.case === "done" ? [words.done(step, order, answer.until)] : [];
  // A refusal after an attempt that nobody answered: that one may yet arrive.
  const touched = saga.attempts > 1 || (answer.case !== "refused" && answer.case !== "skipped");
  const undo = (outcome: Outcome) => undone(step, touched, order, outcome, history);
  if (order.cancelRequested) return undo(cancelled);
  switch (answer.case) {
    case "done":
      return onward(step, order, history);
    case "refused":
      return undo({ state: "REJECTED", why: answer.why });
    case "action":
      return awaited(saga, order, answer.redirectUrl, now, limits) ?? undo(expired);
    case "pending":
    case "unknown":
    case "skipped":
      if (order.expiresAt) return order.expiresAt <= now ? undo(expired) : again(saga, limits);
      if (now.getTime() - saga.stepSince.getTime() < limits.giveUpMs) return again(saga, limits);
      return undo({ state: "REJECTED", why: { reason: unavailable[step], metadata: {} } });
  }
}

const expired: Outcome = { state: "CANCELLED", why: { reason: "PAYMENT_EXPIRED", metadata: {} } };
const unavailable = {
  RESERVE: "INVENTORY_UNAVAILABLE",
  AUTHORIZE: "PAYMENT_UNAVAILABLE",
  COMMIT: "INVENTORY_UNAVAILABLE",
} as const satisfies Record<ForwardStep, string>;

/** After a step that is done. What costs nothing is not paid. */
function onward(step: ForwardStep, order: SagaOrder, history: readonly HistoryEntry[]): Move {
  const isFree = order.totalMinor === 0n;
  switch (step) {
    case "RESERVE":
      return to(isFree ? "COMMIT" : "AUTHORIZE", history);
    case "AUTHORIZE":
      // From here on it does not end by itself.
      return {
        ...to("COMMIT", history),
        ...(order.expiresAt && { order: { nextAction: undefined, expiresAt: undefined } }),
      };
    case "COMMIT":
      return isFree ? confirmed(order, history) : to("CAPTURE", history);
  }
}

/** The order waits for its buyer; undefined where its time is over. */
function awaited(saga: Saga, order: SagaOrder, redirectUrl: string, now: Date, limits: SagaLimits): Move | undefined {
  const expiresAt = order.expiresAt ?? new Date(now.getTime() + limits.paymentMs);
  const leftMs = expiresAt.getTime() - now.getTime();
  if (leftMs <= 0) return undefined;
  const pauseMs = doubled(limits.askAgainMs, limits.mostAskAgainMs, saga.attempts);
  const waits = { step: "AUTHORIZE", waitMs: Math.min(pauseMs, leftMs) } as const;
  if (order.nextAction?.redirectUrl === redirectUrl) return { ...waits, history: [] };
  const change = { nextAction: { redirectUrl }, expiresAt };
  if (order.state === "AWAITING_PAYMENT") return { ...waits, history: [], order: change };
  const state = { state: "AWAITING_PAYMENT", why: noReason } as const;
  return { ...waits, history: [words.awaited(expiresAt)], order: { ...change, ...state } };
}

/** Undoes what was done before a step, and the step itself where it may have had an effect. */
function undone(
  step: ForwardStep,
  touched: boolean,
  order: SagaOrder,
  outcome: Outcome,
  history: readonly HistoryEntry[],
): Move {
  const paid = step === "COMMIT" || (step === "AUTHORIZE" && touched);
  if (paid && order.totalMinor > 0n) return { ...to("VOID", history), outcome };
  if (step !== "RESERVE" || touched) return { ...to("RELEASE", history), outcome };
  return ended(outcome, history);
}

/** The pivot: asked for until its outcome is known. */
function captured(saga: Saga, order: SagaOrder, answer: Answer, limits: SagaLimits): Move {
  switch (answer.case) {
    case "done":
      return confirmed(order, []);
    case "refused":
      return { ...to("VOID", []), outcome: order.cancelRequested ? cancelled : { state: "REJECTED", why: answer.why } };
    case "pending":
    case "action":
    case "unknown":
    case "skipped":
      return again(saga, limits);
  }
}

function confirmed(order: SagaOrder, history: readonly HistoryEntry[]): Move {
  return {
    step: undefined,
    waitMs: 0,
    history: [...history, words.confirmed(order)],
    order: { state: "CONFIRMED", why: noReason, nextAction: undefined, expiresAt: undefined },
    thenCancel: order.cancelRequested,
  };
}

/** The other refunds of a cancelled order are settled: the rest goes back. */
function settled(order: SagaOrder): Move {
  const leftMinor = order.totalMinor - order.refundsMinor;
  if (leftMinor === 0n) return to("RELEASE", []);
  return { ...to("REFUND", [words.refundRequested(leftMinor, order)]), payBackMinor: leftMinor };
}

function refunded(saga: Saga, order: SagaOrder, answer: Answer, limits: SagaLimits): Move {
  const minor = saga.refund?.minor ?? 0n;
  switch (answer.case) {
    case "done": {
      const history = [words.refunded(minor, order)];
      const refund = { state: "SUCCEEDED", failureCode: "" } as const;
      if (saga.kind === "CANCEL") return { ...to("RELEASE", history), refund };
      return { step: saga.refund?.restock ? "RETURN" : undefined, waitMs: 0, history, refund };
    }
    case "refused": {
      const failureCode = answer.why.metadata["failure_code"] ?? answer.why.reason.toLowerCase();
      const failed = { step: undefined, waitMs: 0, refund: { state: "FAILED", failureCode } } as const;
      const history = [words.refundFailed(minor, order, failureCode, saga.kind === "CANCEL")];
      // The order stays as it is: nothing was given back.
      return saga.kind === "CANCEL"
        ? { ...failed, history, order: { cancelRequested: false } }
        : { ...failed, history };
    }
    case "pending":
    case "action":
    case "unknown":
    case "skipped":
      return again(saga, limits);
  }
}

function unitsOf(refund: Saga["refund"]): number {
  return refund?.lines.reduce((sum, { quantity }) => sum + quantity, 0) ?? 0;
}

function to(step: SagaStep, history: readonly HistoryEntry[]): Move {
  return { step, waitMs: 0, history };
}

function again(saga: Saga, { leastPauseMs, mostPauseMs }: SagaLimits): Move {
  return { step: saga.step, waitMs: doubled(leastPauseMs, mostPauseMs, saga.attempts), history: [] };
}

/** The pause after so many attempts. */
function doubled(leastMs: number, mostMs: number, attempts: number): number {
  return Math.min(leastMs * 2 ** Math.min(attempts - 1, 30), mostMs);
}

function ended(outcome: Outcome, history: readonly HistoryEntry[]): Move {
  return {
    step: undefined,
    waitMs: 0,
    history: [...history, words.ended(outcome)],
    order: { ...outcome, nextAction: undefined, expiresAt: undefined, cancelRequested: false },
  };
}
