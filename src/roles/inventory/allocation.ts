import { inventoryErrors } from "./errors.ts";
import type { Demand, ReservationLine } from "./reservation.ts";
import type { Level, StockItem } from "./stock.ts";
import { availableAt, freeAt, total } from "./stock.ts";

/** Units taken at one location. */
export interface Share {
  readonly location: string;
  readonly quantity: bigint;
}

/**
 * Where units are taken from, in the order of the levels: all from the first location that has all; else what is there,
 * wherever it is; and on backorder only what is then missing. Undefined where there is not enough.
 */
export function allocate(levels: readonly Level[], quantity: bigint): Share[] | undefined {
  const whole = levels.find((level) => freeAt(level) >= quantity);
  if (whole) return [{ location: whole.location, quantity }];
  if (total(levels, availableAt) < quantity) return undefined;
  let left = quantity;
  const take = (most: bigint): bigint => {
    const taken = left < most ? left : most;
    left -= taken;
    return taken;
  };
  const there = levels.map((level) => take(freeAt(level)));
  const owed = levels.map((level) => take(availableAt(level) - freeAt(level)));
  return levels
    .map(({ location }, at) => ({ location, quantity: (there[at] ?? 0n) + (owed[at] ?? 0n) }))
    .filter((share) => share.quantity > 0n);
}

/**
 * The lines of a new hold, all or nothing. A SKU that is not among the items is tracked, with nothing on hand.
 * @throws AppError OUT_OF_STOCK for the first SKU that there is not enough of
 */
export function allocateLines(items: ReadonlyMap<string, StockItem>, demand: Demand): ReservationLine[] {
  return [...demand].flatMap(([sku, quantity]): ReservationLine[] => {
    const item = items.get(sku);
    if (item && !item.tracked) return [{ sku, location: "", quantity, returned: 0n, tracked: false }];
    const shares = allocate(item?.levels ?? [], quantity);
    if (!shares) throw outOfStock(sku, quantity, item?.levels ?? []);
    return shares.map((share) => ({ sku, ...share, returned: 0n, tracked: true }));
  });
}

function outOfStock(sku: string, requested: bigint, levels: readonly Level[]) {
  const available = String(total(levels, availableAt));
  return inventoryErrors.OUT_OF_STOCK({ metadata: { sku, requested: String(requested), available } });
}
