import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { notFound } from "../../platform/errors.ts";
import { allocateLines } from "./allocation.ts";
import type { StockContext } from "./change-stock.ts";
import { changeStock } from "./change-stock.ts";
import { inventoryErrors } from "./errors.ts";
import type { Reservation } from "./reservation.ts";
import { demandOf, levelChanges } from "./reservation.ts";
import type { InventoryTables } from "./schema.ts";
import { deleteLines, listLines, lockReservation } from "./store-reservations.ts";
import { lockStock } from "./store.ts";

type Trx = Transaction<InventoryTables>;

/**
 * Takes what an order holds out of the stock, once; a hold that has expired is taken anew.
 * @throws AppError NOT_FOUND, RESERVATION_RELEASED, OUT_OF_STOCK
 */
export async function commitReservation(context: StockContext, orderId: string, actor: string): Promise<Reservation> {
  // failpoint: inventory.commit.begun
  const reservation = await transaction(context.db, async (trx) => {
    const done = await commit(context, trx, orderId, actor);
    // failpoint: inventory.commit.written
    return done;
  });
  // failpoint: inventory.commit.committed
  return reservation;
}

async function commit(context: StockContext, trx: Trx, orderId: string, actor: string): Promise<Reservation> {
  const head = await lockReservation(trx, orderId);
  if (!head) throw notFound("reservation", orderId);
  if (head.state === "RELEASED") throw inventoryErrors.RESERVATION_RELEASED();
  const reservation = { ...head, lines: await listLines(trx, orderId) };
  switch (head.state) {
    case "COMMITTED":
      return reservation;
    case "HELD":
      return commitHeld(context, trx, reservation, actor);
    case "EXPIRED":
      return commitExpired(context, trx, reservation, actor);
  }
}

/** Its time may be over: as long as nobody has taken the units from it they are its own. */
async function commitHeld(
  context: StockContext,
  trx: Trx,
  reservation: Reservation,
  actor: string,
): Promise<Reservation> {
  const { orderId, lines } = reservation;
  const changes = levelChanges(lines, { onHand: -1n, reserved: -1n });
  await changeStock(context, trx, await lockStock(trx, skusOf(changes)), {
    changes,
    cause: { kind: "SALE", reason: "sold", orderId, actor },
    reservation: { orderId, state: "COMMITTED", lines: [] },
  });
  return { ...reservation, state: "COMMITTED" };
}

/** Takes the units anew, wherever they are by now. */
async function commitExpired(
  context: StockContext,
  trx: Trx,
  reservation: Reservation,
  actor: string,
): Promise<Reservation> {
  const { orderId } = reservation;
  const demand = demandOf(reservation.lines);
  const locked = await lockStock(trx, [...demand.keys()]);
  const lines = allocateLines(locked, demand);
  await deleteLines(trx, orderId);
  await changeStock(context, trx, locked, {
    changes: levelChanges(lines, { onHand: -1n, reserved: 0n }),
    cause: { kind: "SALE", reason: "sold after its hold had expired", orderId, actor },
    reservation: { orderId, state: "COMMITTED", lines },
  });
  return { ...reservation, state: "COMMITTED", lines };
}

function skusOf(changes: readonly { readonly sku: string }[]): string[] {
  return [...new Set(changes.map(({ sku }) => sku))];
}
