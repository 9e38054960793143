import type { Kysely, Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { OrderAnnouncements } from "./events.ts";
import type { Order, Refund } from "./order.ts";
import type { Move } from "./saga.ts";
import type { OrderTables } from "./schema.ts";
import type { OrderUpdate } from "./store.ts";
import { changeOrder, lockOrder } from "./store.ts";
import { insertRefund, settleRefund } from "./store-refunds.ts";
import type { LeasedSaga } from "./store-sagas.ts";
import { insertSaga, moveSaga, wakeSagas } from "./store-sagas.ts";

/** Another process has the lease: whoever thought that they had it stops. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

export interface NoteContext {
  readonly db: Kysely<OrderTables>;
  readonly announce: OrderAnnouncements;
  /** Milliseconds of the lease that goes on with the next step. */
  readonly leaseMs: number;
}

/** What was noted. */
export interface Noted {
  readonly move: Move;
  /** After it. */
  readonly order: Order;
}

/**
 * Notes what follows from an answer: the saga, the order, its history and its refunds, in one transaction. The order is
 * locked before `decide` sees it, so that a request to cancel comes either before or after.
 * @param keep whether this process goes on at once where nothing is to be waited for
 * @throws LeaseLost: nothing is written then
 */
export function noteMove(
  { db, announce, leaseMs }: NoteContext,
  saga: LeasedSaga,
  now: Date,
  keep: boolean,
  decide: (order: Order) => Move,
): Promise<Noted> {
  return transaction(db, async (trx) => {
    const locked = await lockOrder(trx, saga.orderId);
    const move = decide(locked);
    const isNext = move.step !== undefined && move.step !== saga.step;
    const lease = { ...move, waitMs: isNext && keep ? undefined : move.waitMs, outcome: move.outcome ?? saga.outcome };
    if (!(await moveSaga(trx, saga, lease, leaseMs, now))) throw new LeaseLost(`the lease on ${saga.id} is lost`);
    const update = { ...move.order, ...(await noteRefund(trx, saga, locked, move, now)) };
    const { history, thenCancel = false } = move;
    const order = await changeOrder(trx, locked, update, history, now, announce);
    if (thenCancel) await insertSaga(trx, { id: newId(), orderId: order.id, kind: "CANCEL", step: "SETTLE" }, now);
    // A cancellation may wait for this one.
    if (move.step === undefined && saga.kind === "REFUND" && order.cancelRequested) await wakeSagas(trx, [order.id]);
    // failpoint: order.${saga.step.toLowerCase()}.written
    return { move, order };
  });
}

/** Notes a refund that the move begins or settles. */
async function noteRefund(
  trx: Transaction<OrderTables>,
  saga: LeasedSaga,
  order: Order,
  move: Move,
  now: Date,
): Promise<OrderUpdate> {
  if (move.payBackMinor !== undefined) {
    const refund = { ...cancelRefund, id: saga.id, minor: move.payBackMinor, createdAt: now };
    await insertRefund(trx, order.id, refund);
    return { refundsMinor: order.refundsMinor + refund.minor, refunds: [...order.refunds, refund] };
  }
  if (!move.refund) return {};
  const { state, failureCode } = move.refund;
  const refunds = await settleRefund(trx, order, saga.id, state, failureCode, now);
  const minor = refunds.find(({ id }) => id === saga.id)?.minor ?? 0n;
  return { refunds, ...(state === "FAILED" && { refundsMinor: order.refundsMinor - minor }) };
}

/** A cancellation returns the units by releasing them. */
const cancelRefund: Omit<Refund, "id" | "minor" | "createdAt"> = {
  state: "PENDING",
  reason: "The order is cancelled.",
  lines: [],
  restock: false,
  failureCode: "",
};
