import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { Reservation, ReservationLine, ReservationState } from "./reservation.ts";
import type { InventoryTables } from "./schema.ts";

type Trx = Transaction<InventoryTables>;

/** A reservation without its lines: they are read under its lock, by a statement of their own. */
export type ReservationHead = Omit<Reservation, "lines">;

/**
 * Records a hold of an order, which begins now by the database's clock. Undefined where the order has a reservation; the
 * row is locked until the end of the transaction.
 */
export async function insertHold(
  trx: Trx,
  orderId: string,
  holdSeconds: number,
  now: Date,
): Promise<ReservationHead | undefined> {
  const { rows } = await sql<{ expiresAt: Date }>`
    insert into reservations (order_id, state, expires_at, created_at, updated_at)
    values (${orderId}::uuid, 'HELD', clock_timestamp() + make_interval(secs => ${holdSeconds}), ${now}, ${now})
    on conflict (order_id) do nothing
    returning expires_at as "expiresAt"
  `.execute(trx);
  return rows[0] && { orderId, state: "HELD", expiresAt: rows[0].expiresAt };
}

/** Notes that nothing was reserved and nothing is to be. Answers false where the order has a reservation. */
export async function insertTombstone(trx: Trx, orderId: string, now: Date): Promise<boolean> {
  const { numInsertedOrUpdatedRows = 0n } = await trx
    .insertInto("reservations")
    .values({ order_id: orderId, state: "RELEASED", expires_at: null, created_at: now, updated_at: now })
    .onConflict((conflict) => conflict.column("order_id").doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows > 0n;
}

/** Locks the reservation of an order until the end of the transaction, if there is one. */
export async function lockReservation(trx: Trx, orderId: string): Promise<ReservationHead | undefined> {
  const row = await trx
    .selectFrom("reservations")
    .select(["state", "expires_at"])
    .where("order_id", "=", orderId)
    .forUpdate()
    .executeTakeFirst();
  return row && { orderId, state: row.state, expiresAt: row.expires_at ?? undefined };
}

/** Locks the hold that is due first by the database's clock; one that somebody works at is passed over. */
export async function lockDueHold(trx: Trx): Promise<ReservationHead | undefined> {
  const row = await trx
    .selectFrom("reservations")
    .select(["order_id", "expires_at"])
    .where("state", "=", sql.lit<ReservationState>("HELD"))
    .where(sql<boolean>`expires_at <= now()`)
    .orderBy("expires_at")
    .limit(1)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
  return row && { orderId: row.order_id, state: "HELD", expiresAt: row.expires_at ?? undefined };
}

/** Milliseconds until the next hold is due, by the database's clock; below 0 where one is. Undefined without holds. */
export async function nextDueMs(db: Kysely<InventoryTables>): Promise<number | undefined> {
  const { rows } = await sql<{ ms: number | null }>`
    select (extract(epoch from min(expires_at) - clock_timestamp()) * 1000)::float8 as ms
    from reservations where state = 'HELD'
  `.execute(db);
  return rows[0]?.ms ?? undefined;
}

/** The lines of a reservation; read them under its lock. */
export function listLines(db: Kysely<InventoryTables>, orderId: string): Promise<ReservationLine[]> {
  return db
    .selectFrom("reservation_lines")
    .select(["sku", "location", "quantity", "returned", "tracked"])
    .where("order_id", "=", orderId)
    .orderBy("sku")
    .orderBy("location")
    .execute();
}

/** Before a hold that has expired is taken anew, perhaps elsewhere. */
export async function deleteLines(trx: Trx, orderId: string): Promise<void> {
  await trx.deleteFrom("reservation_lines").where("order_id", "=", orderId).execute();
}

/** Notes a return. Answers undefined, or what was noted before by its id. */
export async function claimReturn(
  trx: Trx,
  returnId: string,
  orderId: string,
  digest: Buffer,
  now: Date,
): Promise<{ readonly orderId: string; readonly digest: Buffer } | undefined> {
  const { numInsertedOrUpdatedRows = 0n } = await trx
    .insertInto("stock_returns")
    .values({ return_id: returnId, order_id: orderId, digest, created_at: now })
    .onConflict((conflict) => conflict.column("return_id").doNothing())
    .executeTakeFirst();
  if (numInsertedOrUpdatedRows > 0n) return undefined;
  const row = await trx
    .selectFrom("stock_returns")
    .select(["order_id", "digest"])
    .where("return_id", "=", returnId)
    .executeTakeFirstOrThrow();
  return { orderId: row.order_id, digest: row.digest };
}
