/** The code of the location that is there from the first day. */
export const MAIN_LOCATION = "main";

/** Of a SKU at one location, in units. */
export interface Level {
  readonly location: string;
  /** Below 0 where some are owed on backorder. */
  readonly onHand: bigint;
  readonly reserved: bigint;
  /** Units that are sold although they are not there. */
  readonly backorderLimit: bigint;
}

/** What was last announced of a SKU: nothing special, fewer than its threshold, or none that can be sold. */
export type Alert = "NONE" | "LOW" | "DEPLETED";

export type MovementKind = "RECEIPT" | "SALE" | "RETURN" | "ADJUSTMENT" | "TRANSFER";

/** All that is known of a SKU. */
export interface StockItem {
  readonly sku: string;
  /** The aggregate of its events. */
  readonly id: string;
  readonly tracked: boolean;
  /** It counts as low where fewer can be sold; 0 for never. */
  readonly lowStockThreshold: bigint;
  readonly version: bigint;
  readonly alert: Alert;
  readonly updatedAt: Date;
  /** In the order in which orders take from them. */
  readonly levels: readonly Level[];
}

/** By how many units a level changes. */
export interface LevelChange {
  readonly sku: string;
  readonly location: string;
  readonly onHand: bigint;
  readonly reserved: bigint;
}

/** Units that can be sold at a location, backorders included. */
export function availableAt({ onHand, reserved, backorderLimit }: Level): bigint {
  return onHand + backorderLimit - reserved;
}

/** Units at a location that are really there, and not held. */
export function freeAt({ onHand, reserved }: Level): bigint {
  return onHand > reserved ? onHand - reserved : 0n;
}

/** The sum over levels, in units. */
export function total(levels: readonly Level[], of: (level: Level) => bigint): bigint {
  return levels.reduce((sum, level) => sum + of(level), 0n);
}

/** Whether less is there than what is held, the backorder limit included: the database would refuse it. */
export function isOverdrawn(level: Level): boolean {
  return availableAt(level) < 0n;
}

/** What is to be announced of a SKU as it is. */
export function alertOf({ tracked, levels, lowStockThreshold }: Omit<StockItem, "alert">): Alert {
  if (!tracked) return "NONE";
  const available = total(levels, availableAt);
  if (available <= 0n) return "DEPLETED";
  return available < lowStockThreshold ? "LOW" : "NONE";
}

/** Whether a SKU can be bought, as anybody may know; undefined is one that was never adjusted. */
export function availabilityOf(item: StockItem | undefined): "IN_STOCK" | "LOW_STOCK" | "BACKORDER" | "OUT_OF_STOCK" {
  if (!item) return "OUT_OF_STOCK";
  const alert = alertOf(item);
  if (alert === "DEPLETED") return "OUT_OF_STOCK";
  if (item.tracked && total(item.levels, freeAt) === 0n) return "BACKORDER";
  return alert === "LOW" ? "LOW_STOCK" : "IN_STOCK";
}

/** A SKU after a change: its levels, its next version, and what is to be announced. */
export function changed(item: StockItem, changes: readonly LevelChange[], now: Date): StockItem {
  const levels = item.levels.map((level) => {
    const mine = changes.filter(({ sku, location }) => sku === item.sku && location === level.location);
    return mine.reduce(
      (sum, { onHand, reserved }) => ({ ...sum, onHand: sum.onHand + onHand, reserved: sum.reserved + reserved }),
      level,
    );
  });
  const next = { ...item, levels, version: item.version + 1n, updatedAt: now };
  return { ...next, alert: alertOf(next) };
}
