import type { Transaction } from "kysely";
import { afterCommit } from "../../platform/database.ts";
import { versionMismatch } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import { wrongState } from "./errors.ts";
import type { ChangeContext } from "./fulfil-order.ts";
import type { Order } from "./order.ts";
import { decideCancel } from "./order.ts";
import { words } from "./saga-words.ts";
import type { OrderTables } from "./schema.ts";
import { changeOrder, lockOrder } from "./store.ts";
import { insertSaga, wakeSagas } from "./store-sagas.ts";

/**
 * Notes that an order is to be cancelled: its checkout undoes what it has done, or where it is confirmed a saga of its own
 * pays it back. One that is cancelled, or about to be, stays as it is.
 * @param expectedVersion 0 skips the check.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, WRONG_STATE
 */
export async function cancelOrder(
  trx: Transaction<OrderTables>,
  id: string,
  expectedVersion: number,
  { now, announce, wake }: ChangeContext,
): Promise<Order> {
  const order = await lockOrder(trx, id);
  if (expectedVersion !== 0 && order.version !== expectedVersion) throw versionMismatch(order.version);
  const decision = decideCancel(order);
  if (decision === "nothing") return order;
  if (decision === "too late") throw wrongState(order, "cannot be cancelled");
  const requested = await changeOrder(trx, order, { cancelRequested: true }, [words.cancelRequested()], now, announce);
  if (decision === "undo") await wakeSagas(trx, [id]);
  else await insertSaga(trx, { id: newId(), orderId: id, kind: "CANCEL", step: "SETTLE" }, now);
  afterCommit(trx, wake);
  return requested;
}
