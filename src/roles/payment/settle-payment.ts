import type { Kysely, Transaction } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { afterCommit } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { Logger } from "../../platform/logger.ts";
import type { Announce } from "./events.ts";
import type { Payment } from "./payment.ts";
import { holdsMoney, waitAfter } from "./payment.ts";
import type { PaymentProvider, ProviderPayment, ProviderRefusal } from "./provider.ts";
import type { PaymentTables } from "./schema.ts";
import type { Happening, Settlement } from "./settlement.ts";
import { failedWith, settledBy } from "./settlement.ts";
import { lockPayment, updatePayment } from "./store.ts";
import { book } from "./store-ledger.ts";
import type { DueLook } from "./store-looks.ts";
import { endLook } from "./store-looks.ts";
import type { LeasedOperation } from "./store-operations.ts";
import { insertOperation, postponeOperation, settleOperations } from "./store-operations.ts";

export interface SettleContext {
  readonly db: Kysely<PaymentTables>;
  readonly provider: PaymentProvider;
  readonly clock: Clock;
  readonly announce: Announce;
  readonly log: Logger;
  /** Has the reconciler look at once. */
  readonly wake: () => void;
}

/** What a call of the provider ended with. */
export type Outcome =
  | { readonly kind: "seen"; readonly payment: ProviderPayment }
  | { readonly kind: "refused"; readonly refusal: ProviderRefusal }
  /** It may have had its effect, or not; or will have it. */
  | { readonly kind: "unknown"; readonly error: unknown };

/** Milliseconds between looks at a payment whose buyer has to act; the webhook is quicker. */
const BUYER_WAITS_MS = [15_000, 30_000, 60_000];

/**
 * Notes what the provider answered for an operation, in the transaction that it is given: the call, the reconciler and
 * a webhook all end here. What was settled before stays. What is not settled is looked at again later.
 * @param wasSent whether this process holds the lease to send it, which ends here.
 * @returns whether the operation is settled.
 */
export async function noteOutcome(
  trx: Transaction<PaymentTables>,
  context: SettleContext,
  operation: LeasedOperation,
  outcome: Outcome,
  wasSent: boolean,
): Promise<boolean> {
  const before = await lockPayment(trx, { id: operation.paymentId });
  if (!before) throw new Error(`the payment ${operation.paymentId} is gone`);
  const settlement = settlementOf(before, operation, outcome);
  const after = settlement ? await writeSettlement(trx, context, before, settlement) : before;
  const isOpen = after.operations.some(({ id, state }) => id === operation.id && state === "PENDING");
  if (isOpen) await postponeOperation(trx, operation.id, waitOf(after, operation, outcome), wasSent);
  return !isOpen;
}

/** Notes what a payment was seen to be which the provider told of, while nothing was open. */
export async function noteSight(
  trx: Transaction<PaymentTables>,
  context: SettleContext,
  look: DueLook,
  seen: ProviderPayment,
): Promise<void> {
  const before = await lockPayment(trx, { id: look.paymentId });
  if (!before) throw new Error(`the payment ${look.paymentId} is gone`);
  await writeSettlement(trx, context, before, settledBy(before, seen));
  await endLook(trx, look);
}

/** Gives an operation up: its key is dead, and it had no effect. */
export async function giveUp(
  trx: Transaction<PaymentTables>,
  context: SettleContext,
  { id, paymentId }: LeasedOperation,
): Promise<void> {
  const before = await lockPayment(trx, { id: paymentId });
  if (before) await writeSettlement(trx, context, before, failedWith(before, id, "expired"));
}

function settlementOf(before: Payment, { id, kind }: LeasedOperation, outcome: Outcome): Settlement | undefined {
  if (outcome.kind === "seen") return settledBy(before, outcome.payment);
  // A void that is refused may have been done before: the next look tells, and it is tried again as long as its key lives.
  if (outcome.kind === "refused" && kind !== "VOID") return failedWith(before, id, outcome.refusal.code || "refused");
  return undefined;
}

function waitOf({ state }: Payment, { kind, tries }: LeasedOperation, { kind: ended }: Outcome): number {
  if (state === "REQUIRES_ACTION" && kind === "AUTHORIZE" && ended === "seen") {
    return BUYER_WAITS_MS[tries - 1] ?? Math.max(...BUYER_WAITS_MS);
  }
  return waitAfter(tries, ended === "seen");
}

/** Writes what was learned of a locked payment: the payment, its operations, the ledger and the events. */
async function writeSettlement(
  trx: Transaction<PaymentTables>,
  context: SettleContext,
  before: Payment,
  settlement: Settlement,
): Promise<Payment> {
  if (!hasChanged(before, settlement)) return before;
  const now = context.clock.now();
  const after = withoutOldProblem({ ...settlement.payment, version: before.version + 1, updatedAt: now });
  await updatePayment(trx, before, after);
  await settleOperations(trx, settlement.settled);
  if (settlement.needsVoid) await askToVoid(trx, context, after, now);
  for (const booking of settlement.booked) await book(trx, after, booking);
  await announceAll(trx, context, settlement.happened, after);
  for (const complaint of settlement.complaints) {
    afterCommit(trx, () => {
      context.log.error({ payment: after.id, order: after.orderId, problem: after.problem }, complaint);
    });
  }
  return after;
}

function hasChanged(before: Payment, { payment, settled, needsVoid }: Settlement): boolean {
  return (
    settled.length > 0 ||
    needsVoid ||
    payment.state !== before.state ||
    payment.providerReference !== before.providerReference ||
    payment.redirectUrl !== before.redirectUrl ||
    payment.captureFailure !== before.captureFailure ||
    payment.problem !== before.problem
  );
}

/** One that holds no money any more lacks no order. */
export function withoutOldProblem(payment: Payment): Payment {
  return payment.problem === "PAID_WITHOUT_ORDER" && !holdsMoney(payment) ? { ...payment, problem: "" } : payment;
}

/** Has the provider told, after the commit, that what it holds is not wanted any more. */
export async function askToVoid(
  trx: Transaction<PaymentTables>,
  { wake }: Pick<SettleContext, "wake">,
  { id: paymentId, amountMinor }: Payment,
  now: Date,
): Promise<void> {
  await insertOperation(trx, { id: newId(), paymentId, kind: "VOID", amountMinor, now });
  afterCommit(trx, wake);
}

/** Last in a transaction: others that tell of this payment wait from here on. */
export async function announceAll(
  trx: Transaction<PaymentTables>,
  { announce }: Pick<SettleContext, "announce">,
  happened: readonly Happening[],
  payment: Payment,
): Promise<void> {
  for (const happening of happened) await announce(trx, happening, payment);
}
