import type { Kysely } from "kysely";
import { sql } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import { cancelledBy } from "../../platform/database.ts";
import type { InventoryTables } from "./schema.ts";
import type { StockItem } from "./stock.ts";
import type { Movement } from "./store.ts";
import { itemColumns } from "./store.ts";

type Db = Kysely<InventoryTables>;

/** SKUs with their levels, by one snapshot. Units as text: JSON numbers would round them. */
function selectStock(db: Db) {
  return db.selectFrom("stock_items as i").select((eb) => [
    ...itemColumns,
    jsonArrayFrom(
      eb
        .selectFrom("stock_levels as l")
        .innerJoin("locations as o", "o.code", "l.location")
        .select([
          "l.location",
          sql<string>`l.on_hand::text`.as("onHand"),
          sql<string>`l.reserved::text`.as("reserved"),
          sql<string>`l.backorder_limit::text`.as("backorderLimit"),
        ])
        .whereRef("l.sku", "=", "i.sku")
        .orderBy("o.priority")
        .orderBy("o.code"),
    ).as("levels"),
  ]);
}

type StockRow = Awaited<ReturnType<ReturnType<typeof selectStock>["executeTakeFirstOrThrow"]>>;

function itemOf(row: StockRow): StockItem {
  const levels = row.levels.map(({ location, onHand, reserved, backorderLimit }) => ({
    location,
    onHand: BigInt(onHand),
    reserved: BigInt(reserved),
    backorderLimit: BigInt(backorderLimit),
  }));
  return { ...row, levels };
}

/** Those of the SKUs that are known, in no order. */
export async function findStock(db: Db, skus: readonly string[], signal: AbortSignal): Promise<StockItem[]> {
  const rows = await selectStock(db).where(sql<boolean>`i.sku = any (${skus}::text[])`).execute(cancelledBy(signal));
  return rows.map(itemOf);
}

/** The versions of those of the SKUs that are known. */
export async function findVersions(
  db: Db,
  skus: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly sku: string; readonly version: bigint }[]> {
  return db
    .selectFrom("stock_items")
    .select(["sku", "version"])
    .where(sql<boolean>`sku = any (${skus}::text[])`)
    .execute(cancelledBy(signal));
}

export interface StockFilter {
  /** Empty: all. */
  readonly location: string;
  /** Only what counts as low, or cannot be sold. */
  readonly onlyLow: boolean;
}

/** By SKU, those after one. */
export async function listStock(
  db: Db,
  { location, onlyLow }: StockFilter,
  after: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<StockItem[]> {
  let query = selectStock(db).orderBy("i.sku").limit(limit);
  if (after !== undefined) query = query.where("i.sku", ">", after);
  // Literal, so that the partial index fits under any plan.
  if (onlyLow) query = query.where("i.alert", "<>", sql.lit("NONE"));
  if (location !== "") {
    query = query.where((eb) =>
      eb.exists(
        eb
          .selectFrom("stock_levels as at")
          .select("at.sku")
          .whereRef("at.sku", "=", "i.sku")
          .where("at.location", "=", location),
      ),
    );
  }
  return (await query.execute(cancelledBy(signal))).map(itemOf);
}

export interface MovementFilter {
  /** Empty: of all. */
  readonly sku: string;
  /** Empty: at all. */
  readonly location: string;
  /** Empty: of all. */
  readonly orderId: string;
}

/** Newest first, those before a position. */
export async function listMovements(
  db: Db,
  { sku, location, orderId }: MovementFilter,
  before: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<(Movement & { readonly position: bigint })[]> {
  let query = db
    .selectFrom("stock_movements")
    .select(["id", "position", "sku", "location", "kind", "delta", "reason", "actor"])
    .select(["order_id as orderId", "on_hand as onHand", "occurred_at as occurredAt"])
    .orderBy("position", "desc")
    .limit(limit);
  if (sku !== "") query = query.where("sku", "=", sku);
  if (location !== "") query = query.where("location", "=", location);
  if (orderId !== "") query = query.where("order_id", "=", orderId);
  if (before !== undefined) query = query.where("position", "<", BigInt(before));
  const rows = await query.execute(cancelledBy(signal));
  return rows.map(({ orderId: order, ...row }) => ({ ...row, orderId: order ?? undefined }));
}
