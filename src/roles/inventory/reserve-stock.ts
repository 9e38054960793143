import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { allocateLines } from "./allocation.ts";
import type { StockContext } from "./change-stock.ts";
import { changeStock } from "./change-stock.ts";
import { inventoryErrors } from "./errors.ts";
import type { Demand, Reservation } from "./reservation.ts";
import { demandOf, isSameDemand, levelChanges } from "./reservation.ts";
import type { InventoryTables } from "./schema.ts";
import type { ReservationHead } from "./store-reservations.ts";
import { insertHold, listLines, lockReservation } from "./store-reservations.ts";
import { lockStock } from "./store.ts";

export interface HoldRequest {
  readonly orderId: string;
  readonly demand: Demand;
  readonly holdSeconds: number;
}

/**
 * Holds all that an order wants, or nothing; once per order.
 * @throws AppError OUT_OF_STOCK, RESERVATION_MISMATCH, RESERVATION_RELEASED
 */
export async function reserveStock(context: StockContext, request: HoldRequest): Promise<Reservation> {
  // failpoint: inventory.reserve.begun
  const reservation = await transaction(context.db, async (trx) => {
    const hold = await insertHold(trx, request.orderId, request.holdSeconds, context.clock.now());
    const done = hold ? await fillHold(context, trx, hold, request) : await findHold(trx, request);
    // failpoint: inventory.reserve.written
    return done;
  });
  // failpoint: inventory.reserve.committed
  return reservation;
}

async function fillHold(
  context: StockContext,
  trx: Transaction<InventoryTables>,
  hold: ReservationHead,
  { orderId, demand }: HoldRequest,
): Promise<Reservation> {
  const locked = await lockStock(trx, [...demand.keys()]);
  const lines = allocateLines(locked, demand);
  await changeStock(context, trx, locked, {
    changes: levelChanges(lines, { onHand: 0n, reserved: 1n }),
    reservation: { orderId, lines },
  });
  return { ...hold, lines };
}

/** The order was here before: its reservation as it is. */
async function findHold(trx: Transaction<InventoryTables>, { orderId, demand }: HoldRequest): Promise<Reservation> {
  const head = await lockReservation(trx, orderId);
  if (!head) throw new Error(`the reservation of ${orderId} is gone`);
  if (head.state === "RELEASED") throw inventoryErrors.RESERVATION_RELEASED();
  const lines = await listLines(trx, orderId);
  if (!isSameDemand(demandOf(lines), demand)) throw inventoryErrors.RESERVATION_MISMATCH();
  return { ...head, lines };
}
