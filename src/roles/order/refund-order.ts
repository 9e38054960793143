import type { Transaction } from "kysely";
import { afterCommit } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import { wrongState } from "./errors.ts";
import type { ChangeContext } from "./fulfil-order.ts";
import type { Order, Refund } from "./order.ts";
import { isRefundable } from "./order.ts";
import type { RefundWish } from "./refund.ts";
import { refundOf } from "./refund.ts";
import { words } from "./saga-words.ts";
import type { OrderTables } from "./schema.ts";
import { changeOrder, lockOrder } from "./store.ts";
import { insertRefund } from "./store-refunds.ts";
import { insertSaga } from "./store-sagas.ts";

/**
 * Notes that money of an order goes back, and units where they are to; a saga carries it out. Under the order's lock, so
 * that refunds at the same time never come to more than what was paid.
 * @throws AppError NOT_FOUND, WRONG_STATE, INVALID_REQUEST, REFUND_TOO_LARGE
 */
export async function refundOrder(
  trx: Transaction<OrderTables>,
  id: string,
  wish: RefundWish & { readonly reason: string },
  { now, announce, wake }: ChangeContext,
): Promise<{ readonly order: Order; readonly refund: Refund }> {
  const order = await lockOrder(trx, id);
  if (!isRefundable(order)) throw wrongState(order, "cannot be paid back");
  const { minor, lines } = refundOf(order, wish);
  const refund: Refund = {
    id: newId(),
    minor,
    // What costs nothing has nothing to be paid back.
    state: minor > 0n ? "PENDING" : "SUCCEEDED",
    reason: wish.reason,
    lines,
    restock: wish.restock && lines.length > 0,
    failureCode: "",
    createdAt: now,
  };
  await insertRefund(trx, id, refund);
  const update = { refunds: [...order.refunds, refund], refundsMinor: order.refundsMinor + minor };
  const history = [words.refundRequested(minor, order, wish.reason)];
  const changed = await changeOrder(trx, order, update, history, now, announce);
  const step = firstStep(refund);
  if (step) await insertSaga(trx, { id: refund.id, orderId: id, kind: "REFUND", step }, now);
  afterCommit(trx, wake);
  return { order: changed, refund };
}

function firstStep({ minor, restock }: Refund): "REFUND" | "RETURN" | undefined {
  if (minor > 0n) return "REFUND";
  return restock ? "RETURN" : undefined;
}
