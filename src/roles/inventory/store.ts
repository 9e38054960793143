import type { Kysely, RawBuilder, Transaction } from "kysely";
import { sql } from "kysely";
import { newId } from "../../platform/id.ts";
import type { ReservationLine, ReservationState } from "./reservation.ts";
import type { InventoryTables } from "./schema.ts";
import type { Level, LevelChange, MovementKind, StockItem } from "./stock.ts";

type Trx = Transaction<InventoryTables>;
type Db = Kysely<InventoryTables>;

/** The columns of a stock item `i`. */
export const itemColumns = [
  "i.sku",
  "i.id",
  "i.tracked",
  "i.low_stock_threshold as lowStockThreshold",
  "i.version",
  "i.alert",
  "i.updated_at as updatedAt",
] as const;

/**
 * Locks SKUs until the end of the transaction, in one order, so that no two wait for each other in a circle; those that
 * are not known are left out.
 */
export async function lockStock(trx: Trx, skus: readonly string[]): Promise<Map<string, StockItem>> {
  if (skus.length === 0) return new Map();
  const items = await lockItems(trx, skus);
  // A statement of its own: the one that waited for the lock sees the levels as they were before it waited.
  const levels = await listLevels(trx, skus);
  return new Map(items.map((item) => [item.sku, { ...item, levels: levels.filter(({ sku }) => sku === item.sku) }]));
}

/** Makes a SKU known where it is not, with a level at the locations, and locks it. */
export async function lockStockAt(trx: Trx, sku: string, locations: readonly string[], now: Date): Promise<StockItem> {
  await insertItems(trx, [sku], now);
  const [item] = await lockItems(trx, [sku]);
  if (!item) throw new Error(`the stock item ${sku} is gone`);
  // Only under the lock: the foreign key takes a share of it, and two shares cannot both become the whole.
  await insertLevels(trx, [sku], locations);
  return { ...item, levels: await listLevels(trx, [sku]) };
}

function lockItems(trx: Trx, skus: readonly string[]): Promise<Omit<StockItem, "levels">[]> {
  return trx
    .selectFrom("stock_items as i")
    .select(itemColumns)
    .where(sql<boolean>`i.sku = any (${skus}::text[])`)
    .orderBy("i.sku")
    .forUpdate()
    .execute();
}

function listLevels(trx: Trx, skus: readonly string[]): Promise<(Level & { readonly sku: string })[]> {
  return trx
    .selectFrom("stock_levels as l")
    .innerJoin("locations as o", "o.code", "l.location")
    .select(["l.sku", "l.location", "l.on_hand as onHand", "l.reserved", "l.backorder_limit as backorderLimit"])
    .where(sql<boolean>`l.sku = any (${skus}::text[])`)
    .orderBy("o.priority")
    .orderBy("o.code")
    .execute();
}

/** Makes SKUs known that are not, and locks those until the end of the transaction. Answers them. */
export async function insertItems(trx: Trx, skus: readonly string[], now: Date): Promise<string[]> {
  const { rows } = await sql<{ sku: string }>`
    insert into stock_items (sku, id, created_at, updated_at)
    select sku, id, ${now}::timestamptz, ${now}::timestamptz
    from unnest(${skus}::text[], ${skus.map(() => newId())}::uuid[]) as new (sku, id) order by sku collate "C"
    on conflict (sku) do nothing
    returning sku
  `.execute(trx);
  return rows.map(({ sku }) => sku);
}

/** Gives SKUs that are locked a level at locations where they have none. */
export async function insertLevels(trx: Trx, skus: readonly string[], locations: readonly string[]): Promise<void> {
  const values = skus.flatMap((sku) => locations.map((location) => ({ sku, location })));
  if (values.length === 0) return;
  await trx
    .insertInto("stock_levels")
    .values(values)
    .onConflict((conflict) => conflict.columns(["sku", "location"]).doNothing())
    .execute();
}

/** A row of the history of what is on hand, in units. */
export interface Movement {
  readonly id: string;
  readonly orderId: string | undefined;
  readonly sku: string;
  readonly location: string;
  readonly kind: MovementKind;
  readonly delta: bigint;
  /** After it. */
  readonly onHand: bigint;
  readonly reason: string;
  readonly actor: string;
  readonly occurredAt: Date;
}

/** What one change writes. */
export interface StockWrite {
  /** The SKUs as they are after it, under their locks. */
  readonly items: readonly StockItem[];
  readonly changes: readonly LevelChange[];
  readonly movements: readonly Movement[];
  readonly reservation?: {
    readonly orderId: string;
    /** Undefined: stays. */
    readonly state?: ReservationState;
    /** Those that are new, and those with other numbers of units that came back. */
    readonly lines: readonly ReservationLine[];
  };
}

/**
 * Writes a change of stock in one statement, under the locks of its SKUs and of its reservation. The numbers are added
 * by the database, whose checks refuse what the rules should have. Parts that have nothing to write are left out: each
 * costs the server about as much to plan as to run.
 */
export async function writeStock(trx: Trx, write: StockWrite, now: Date): Promise<void> {
  const { items, changes, movements, reservation } = write;
  const parts: RawBuilder<unknown>[] = [];
  if (changes.length > 0) parts.push(sql`moved as (${updateLevels(changes)})`);
  if (items.length > 0) parts.push(sql`bumped as (${updateItems(items, now)})`);
  if (movements.length > 0) parts.push(sql`noted as (${insertMovements(movements)})`);
  if (reservation) {
    const { orderId, lines, state } = reservation;
    if (lines.length > 0) parts.push(sql`lined as (${upsertLines(orderId, lines)})`);
    if (state !== undefined) parts.push(sql`turned as (${updateReservation(orderId, state, now)})`);
  }
  if (parts.length > 0) await sql`with ${sql.join(parts)} select`.execute(trx);
}

function updateReservation(orderId: string, state: ReservationState, now: Date): RawBuilder<unknown> {
  return sql`
    update reservations set state = ${state}, updated_at = ${now}::timestamptz where order_id = ${orderId}::uuid
  `;
}

function updateItems(items: readonly StockItem[], now: Date): RawBuilder<unknown> {
  return sql`
    update stock_items i set version = c.version, alert = c.alert, updated_at = ${now}::timestamptz
    from unnest(
      ${items.map(({ sku }) => sku)}::text[], ${items.map(({ version }) => version)}::bigint[],
      ${items.map(({ alert }) => alert)}::text[]
    ) as c (sku, version, alert)
    where i.sku = c.sku
  `;
}

function updateLevels(changes: readonly LevelChange[]): RawBuilder<unknown> {
  return sql`
    update stock_levels l set on_hand = l.on_hand + c.on_hand, reserved = l.reserved + c.reserved
    from unnest(
      ${changes.map(({ sku }) => sku)}::text[], ${changes.map(({ location }) => location)}::text[],
      ${changes.map(({ onHand }) => onHand)}::bigint[], ${changes.map(({ reserved }) => reserved)}::bigint[]
    ) as c (sku, location, on_hand, reserved)
    where l.sku = c.sku and l.location = c.location
  `;
}

function insertMovements(movements: readonly Movement[]): RawBuilder<unknown> {
  const column = (of: (movement: Movement) => unknown) => movements.map(of);
  return sql`
    insert into stock_movements (id, order_id, sku, location, kind, delta, on_hand, reason, actor, occurred_at)
    select * from unnest(
      ${column(({ id }) => id)}::uuid[], ${column(({ orderId }) => orderId ?? null)}::uuid[],
      ${column(({ sku }) => sku)}::text[], ${column(({ location }) => location)}::text[],
      ${column(({ kind }) => kind)}::text[], ${column(({ delta }) => delta)}::bigint[],
      ${column(({ onHand }) => onHand)}::bigint[], ${column(({ reason }) => reason)}::text[],
      ${column(({ actor }) => actor)}::text[], ${column(({ occurredAt }) => occurredAt)}::timestamptz[]
    )
  `;
}

function upsertLines(orderId: string, lines: readonly ReservationLine[]): RawBuilder<unknown> {
  const column = (of: (line: ReservationLine) => unknown) => lines.map(of);
  return sql`
    insert into reservation_lines (order_id, sku, location, quantity, returned, tracked)
    select ${orderId}::uuid, * from unnest(
      ${column(({ sku }) => sku)}::text[], ${column(({ location }) => location)}::text[],
      ${column(({ quantity }) => quantity)}::bigint[], ${column(({ returned }) => returned)}::bigint[],
      ${column(({ tracked }) => tracked)}::boolean[]
    )
    on conflict (order_id, sku, location) do update set returned = excluded.returned
  `;
}

/** Sets how a SKU that is locked is sold, as the item says. */
export async function updatePolicy(trx: Trx, item: StockItem): Promise<void> {
  await trx
    .updateTable("stock_items")
    .set({ tracked: item.tracked, low_stock_threshold: item.lowStockThreshold })
    .where("sku", "=", item.sku)
    .execute();
  for (const { location, backorderLimit } of item.levels) {
    await trx
      .updateTable("stock_levels")
      .set({ backorder_limit: backorderLimit })
      .where("sku", "=", item.sku)
      .where("location", "=", location)
      .where("backorder_limit", "<>", backorderLimit)
      .execute();
  }
}

/** The codes that are no locations. */
export async function findUnknownLocations(db: Db, codes: readonly string[]): Promise<string[]> {
  const found = await db
    .selectFrom("locations")
    .select("code")
    .where(sql<boolean>`code = any (${codes}::text[])`)
    .execute();
  const known = new Set(found.map(({ code }) => code));
  return codes.filter((code) => !known.has(code));
}
