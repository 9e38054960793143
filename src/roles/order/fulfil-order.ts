import type { Transaction } from "kysely";
import { versionMismatch } from "../../platform/errors.ts";
import { wrongState } from "./errors.ts";
import type { OrderAnnouncements } from "./events.ts";
import type { Order } from "./order.ts";
import { mayBeFulfilled, noReason } from "./order.ts";
import { words } from "./saga-words.ts";
import type { OrderTables } from "./schema.ts";
import { changeOrder, lockOrder } from "./store.ts";

/** What a change of an order needs beside its transaction. */
export interface ChangeContext {
  readonly now: Date;
  readonly announce: OrderAnnouncements;
  /** Has what was noted carried out, once it is committed. */
  readonly wake: () => void;
}

/**
 * Notes that the goods of an order have left. One that is to be cancelled, or whose money all goes back, must not leave.
 * @param expectedVersion 0 skips the check.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, WRONG_STATE
 */
export async function fulfilOrder(
  trx: Transaction<OrderTables>,
  id: string,
  expectedVersion: number,
  { now, announce }: ChangeContext,
): Promise<Order> {
  const order = await lockOrder(trx, id);
  if (expectedVersion !== 0 && order.version !== expectedVersion) throw versionMismatch(order.version);
  if (!mayBeFulfilled(order)) throw wrongState(order, "cannot leave");
  return changeOrder(trx, order, { state: "FULFILLED", why: noReason }, [words.fulfilled()], now, announce);
}

/**
 * Notes that the goods of an order have arrived.
 * @param expectedVersion 0 skips the check.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, WRONG_STATE
 */
export async function deliverOrder(
  trx: Transaction<OrderTables>,
  id: string,
  expectedVersion: number,
  { now, announce }: ChangeContext,
): Promise<Order> {
  const order = await lockOrder(trx, id);
  if (expectedVersion !== 0 && order.version !== expectedVersion) throw versionMismatch(order.version);
  if (order.state !== "FULFILLED") throw wrongState(order, "cannot arrive");
  return changeOrder(trx, order, { state: "DELIVERED", why: noReason }, [words.delivered()], now, announce);
}
