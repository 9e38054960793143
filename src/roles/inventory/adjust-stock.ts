import type { Transaction } from "kysely";
import { afterCommit } from "../../platform/database.ts";
import type { StockContext } from "./change-stock.ts";
import { announceAlerts, changeStock } from "./change-stock.ts";
import { inventoryErrors } from "./errors.ts";
import type { InventoryTables } from "./schema.ts";
import type { Level, MovementKind, StockItem } from "./stock.ts";
import { changed, freeAt, isOverdrawn } from "./stock.ts";
import type { Movement } from "./store.ts";
import { findUnknownLocations, lockStockAt, updatePolicy, writeStock } from "./store.ts";

type Trx = Transaction<InventoryTables>;

export interface Adjustment {
  readonly sku: string;
  readonly location: string;
  /** Units that come, or below 0 go. */
  readonly delta: bigint;
  readonly kind: MovementKind;
  readonly reason: string;
  /** The key of the subject. */
  readonly actor: string;
  readonly expectedOnHand: bigint | undefined;
}

/**
 * Changes what is on hand at a location.
 * @throws AppError LOCATION_UNKNOWN, STOCK_CHANGED, STOCK_RESERVED
 */
export async function adjustStock(
  context: StockContext,
  trx: Trx,
  { sku, location, delta, expectedOnHand, ...cause }: Adjustment,
): Promise<{ readonly item: StockItem; readonly movement: Movement }> {
  await checkLocations(trx, [location]);
  const item = await lockStockAt(trx, sku, [location], context.clock.now());
  const level = levelAt(item, location);
  if (expectedOnHand !== undefined && expectedOnHand !== level.onHand) {
    throw inventoryErrors.STOCK_CHANGED({ metadata: { on_hand: String(level.onHand) } });
  }
  if (isOverdrawn({ ...level, onHand: level.onHand + delta })) throw stockReserved(sku, level);
  const changes = [{ sku, location, onHand: delta, reserved: 0n }];
  const { items, movements } = await changeStock(context, trx, new Map([[sku, item]]), { changes, cause });
  const [after, movement] = [items[0], movements[0]];
  if (!after || !movement) throw new Error(`the change of ${sku} was not written`);
  return { item: after, movement };
}

export interface Transfer {
  readonly sku: string;
  readonly from: string;
  readonly to: string;
  readonly quantity: bigint;
  readonly reason: string;
  /** The key of the subject. */
  readonly actor: string;
}

/**
 * Moves units that are there, and not held, to another location.
 * @throws AppError LOCATION_UNKNOWN, STOCK_RESERVED
 */
export async function transferStock(
  context: StockContext,
  trx: Trx,
  { sku, from, to, quantity, reason, actor }: Transfer,
): Promise<StockItem> {
  await checkLocations(trx, [from, to]);
  const item = await lockStockAt(trx, sku, [from, to], context.clock.now());
  const source = levelAt(item, from);
  if (freeAt(source) < quantity) throw stockReserved(sku, source);
  const changes = [
    { sku, location: from, onHand: -quantity, reserved: 0n },
    { sku, location: to, onHand: quantity, reserved: 0n },
  ];
  const cause = { kind: "TRANSFER", reason, actor } as const;
  const { items } = await changeStock(context, trx, new Map([[sku, item]]), { changes, cause });
  return items[0] ?? item;
}

/** How a SKU is sold; what is undefined stays. */
export interface Policy {
  readonly sku: string;
  readonly tracked: boolean | undefined;
  readonly lowStockThreshold: bigint | undefined;
  readonly backorderLimit: bigint | undefined;
  /** Of the backorder limit. */
  readonly location: string;
}

/** @throws AppError LOCATION_UNKNOWN, STOCK_RESERVED */
export async function changePolicy(
  context: StockContext,
  trx: Trx,
  { sku, tracked, lowStockThreshold, backorderLimit, location }: Policy,
): Promise<StockItem> {
  const now = context.clock.now();
  const places = backorderLimit === undefined ? [] : [location];
  await checkLocations(trx, places);
  const item = await lockStockAt(trx, sku, places, now);
  const levels = item.levels.map((level) => {
    if (backorderLimit === undefined || level.location !== location) return level;
    if (isOverdrawn({ ...level, backorderLimit })) throw stockReserved(sku, level);
    return { ...level, backorderLimit };
  });
  const policy = {
    ...item,
    levels,
    tracked: tracked ?? item.tracked,
    lowStockThreshold: lowStockThreshold ?? item.lowStockThreshold,
  };
  const after = changed(policy, [], now);
  await updatePolicy(trx, after);
  await writeStock(trx, { items: [after], changes: [], movements: [] }, now);
  await announceAlerts(context.announce, trx, [item], [after]);
  afterCommit(trx, () => {
    context.changes.announce([sku]);
  });
  return after;
}

async function checkLocations(trx: Trx, codes: readonly string[]): Promise<void> {
  const [location] = await findUnknownLocations(trx, codes);
  if (location !== undefined) throw inventoryErrors.LOCATION_UNKNOWN({ metadata: { location } });
}

function levelAt(item: StockItem, location: string): Level {
  const level = item.levels.find((candidate) => candidate.location === location);
  if (!level) throw new Error(`${item.sku} has no level at ${location}`);
  return level;
}

function stockReserved(sku: string, { location, onHand, reserved }: Level) {
  const metadata = { sku, location, on_hand: String(onHand), reserved: String(reserved) };
  return inventoryErrors.STOCK_RESERVED({ metadata });
}
