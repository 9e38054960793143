import type { Transaction } from "kysely";
import type { Order, Refund, RefundState } from "./order.ts";
import type { OrderTables } from "./schema.ts";

/** Notes a refund of a locked order, whose sum of refunds follows by `changeOrder`. */
export async function insertRefund(trx: Transaction<OrderTables>, orderId: string, refund: Refund): Promise<void> {
  await trx
    .insertInto("order_refunds")
    .values({
      id: refund.id,
      order_id: orderId,
      amount_minor: refund.minor,
      state: refund.state,
      reason: refund.reason,
      lines: JSON.stringify(refund.lines.map((line) => ({ ...line, minor: String(line.minor) }))),
      restock: refund.restock,
      created_at: refund.createdAt,
      settled_at: refund.state === "PENDING" ? null : refund.createdAt,
    })
    .execute();
}

/** Settles a refund that is pending, of a locked order. Answers the order's refunds with it. */
export async function settleRefund(
  trx: Transaction<OrderTables>,
  order: Order,
  id: string,
  state: Exclude<RefundState, "PENDING">,
  failureCode: string,
  now: Date,
): Promise<Order["refunds"]> {
  await trx
    .updateTable("order_refunds")
    .set({ state, failure_code: failureCode, settled_at: now })
    .where("id", "=", id)
    .where("state", "=", "PENDING")
    .executeTakeFirstOrThrow();
  return order.refunds.map((refund) => (refund.id === id ? { ...refund, state, failureCode } : refund));
}
