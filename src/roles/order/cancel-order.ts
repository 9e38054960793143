import type { Transaction } from "kysely";
import { versionMismatch } from "../../platform/errors.ts";
import { orderErrors } from "./errors.ts";
import type { OrderAnnouncements } from "./events.ts";
import type { Order } from "./order.ts";
import { decideCancel } from "./order.ts";
import type { OrderTables } from "./schema.ts";
import { advanceOrder, lockOrder } from "./store.ts";

/**
 * Cancels an order that is not settled; a cancelled one stays as it is.
 * @param expectedVersion 0 skips the check.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, WRONG_STATE
 */
export async function cancelOrder(
  trx: Transaction<OrderTables>,
  id: string,
  expectedVersion: number,
  now: Date,
  announce: OrderAnnouncements,
): Promise<Order> {
  const order = await lockOrder(trx, id);
  if (expectedVersion !== 0 && order.version !== expectedVersion) throw versionMismatch(order.version);
  switch (decideCancel(order.state)) {
    case "nothing":
      return order;
    case "too late":
      throw orderErrors.WRONG_STATE({
        message: `An order that is ${order.state} cannot be cancelled.`,
        metadata: { state: order.state },
        preconditions: [{ type: "WRONG_STATE", subject: id, description: `The order is ${order.state}.` }],
      });
    case "cancel":
      return advanceOrder(trx, order, "CANCELLED", { reason: "CANCEL_REQUESTED", metadata: {} }, now, announce);
  }
}
