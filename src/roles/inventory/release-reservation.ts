import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import type { MovementCause, StockContext } from "./change-stock.ts";
import { changeStock } from "./change-stock.ts";
import type { Reservation, ReservationLine } from "./reservation.ts";
import { leftOf, levelChanges } from "./reservation.ts";
import type { InventoryTables } from "./schema.ts";
import type { LevelChange } from "./stock.ts";
import type { ReservationHead } from "./store-reservations.ts";
import { insertTombstone, listLines, lockDueHold, lockReservation } from "./store-reservations.ts";
import { lockStock } from "./store.ts";

type Trx = Transaction<InventoryTables>;

/**
 * Gives back what an order holds, or has taken and not returned, once. Where nothing was reserved that is noted, so that
 * a reservation that comes later is refused.
 */
export async function releaseReservation(context: StockContext, orderId: string, actor: string): Promise<Reservation> {
  // failpoint: inventory.release.begun
  const reservation = await transaction(context.db, async (trx) => {
    const done = await release(context, trx, orderId, actor);
    // failpoint: inventory.release.written
    return done;
  });
  // failpoint: inventory.release.committed
  return reservation;
}

async function release(context: StockContext, trx: Trx, orderId: string, actor: string): Promise<Reservation> {
  const head = (await lockReservation(trx, orderId)) ?? (await leaveTombstone(context, trx, orderId));
  const lines = await listLines(trx, orderId);
  switch (head.state) {
    case "RELEASED":
      return { ...head, lines };
    case "EXPIRED":
      return giveBack(context, trx, { ...head, lines, state: "RELEASED" }, []);
    case "HELD":
      return giveBack(context, trx, { ...head, lines, state: "RELEASED" }, heldOf(lines));
    case "COMMITTED": {
      const cause: MovementCause = { kind: "RETURN", reason: "released", orderId, actor };
      const returned = lines.map((line) => ({ ...line, returned: line.quantity }));
      const changes = levelChanges(lines, { onHand: 1n, reserved: 0n }, leftOf);
      return giveBack(context, trx, { ...head, lines: returned, state: "RELEASED" }, changes, cause);
    }
  }
}

/** A reservation that was made at the same time is there, then. */
async function leaveTombstone({ clock }: StockContext, trx: Trx, orderId: string): Promise<ReservationHead> {
  if (await insertTombstone(trx, orderId, clock.now())) return { orderId, state: "RELEASED", expiresAt: undefined };
  const head = await lockReservation(trx, orderId);
  if (!head) throw new Error(`the reservation of ${orderId} is gone`);
  return head;
}

/** Ends the hold that is due first, by the database's clock. Answers whether there was one. */
export async function expireHold(context: StockContext): Promise<boolean> {
  return transaction(context.db, async (trx) => {
    const head = await lockDueHold(trx);
    if (!head) return false;
    const lines = await listLines(trx, head.orderId);
    await giveBack(context, trx, { ...head, lines, state: "EXPIRED" }, heldOf(lines));
    return true;
  });
}

function heldOf(lines: readonly ReservationLine[]): LevelChange[] {
  return levelChanges(lines, { onHand: 0n, reserved: -1n });
}

/** Writes the reservation as it is to be, and what that does to the stock. */
export async function giveBack(
  context: StockContext,
  trx: Trx,
  reservation: Reservation,
  changes: readonly LevelChange[],
  cause?: MovementCause,
): Promise<Reservation> {
  const { orderId, state, lines } = reservation;
  const locked = await lockStock(trx, [...new Set(changes.map(({ sku }) => sku))]);
  await changeStock(context, trx, locked, {
    changes,
    reservation: { orderId, state, lines: lines.filter(({ returned }) => returned > 0n) },
    ...(cause && { cause }),
  });
  return reservation;
}
