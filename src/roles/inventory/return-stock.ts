import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { errors, notFound } from "../../platform/errors.ts";
import type { StockContext } from "./change-stock.ts";
import { giveBack } from "./release-reservation.ts";
import type { Demand, Reservation } from "./reservation.ts";
import { levelChanges, spreadReturn } from "./reservation.ts";
import type { InventoryTables } from "./schema.ts";
import { claimReturn, listLines, lockReservation } from "./store-reservations.ts";

export interface ReturnRequest {
  readonly orderId: string;
  readonly returnId: string;
  readonly demand: Demand;
  /** Of the whole request: the same return with other lines is another one. */
  readonly digest: Buffer;
  /** The key of the subject. */
  readonly actor: string;
}

/**
 * Puts units that an order has taken back to where they were taken from, once per return.
 * @throws AppError NOT_FOUND, RETURN_TOO_LARGE, IDEMPOTENCY_KEY_REUSED
 */
export async function returnStock(context: StockContext, request: ReturnRequest): Promise<Reservation> {
  // failpoint: inventory.return.begun
  const reservation = await transaction(context.db, async (trx) => {
    const done = await takeBack(context, trx, request);
    // failpoint: inventory.return.written
    return done;
  });
  // failpoint: inventory.return.committed
  return reservation;
}

async function takeBack(
  context: StockContext,
  trx: Transaction<InventoryTables>,
  { orderId, returnId, demand, digest, actor }: ReturnRequest,
): Promise<Reservation> {
  const head = await lockReservation(trx, orderId);
  if (!head) throw notFound("reservation", orderId);
  const earlier = await claimReturn(trx, returnId, orderId, digest, context.clock.now());
  const reservation = { ...head, lines: await listLines(trx, orderId) };
  if (earlier) {
    if (earlier.orderId !== orderId || !earlier.digest.equals(digest)) throw errors.IDEMPOTENCY_KEY_REUSED();
    return reservation;
  }
  const shares = spreadReturn(head.state === "COMMITTED" ? reservation.lines : [], demand);
  const lines = reservation.lines.map((line) => {
    const back = shares.find(({ sku, location }) => sku === line.sku && location === line.location);
    return back ? { ...line, returned: line.returned + back.quantity } : line;
  });
  const changes = levelChanges(shares, { onHand: 1n, reserved: 0n });
  const cause = { kind: "RETURN", reason: "returned", orderId, actor } as const;
  return giveBack(context, trx, { ...reservation, lines }, changes, cause);
}
