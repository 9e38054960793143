import { inventoryErrors } from "./errors.ts";
import type { LevelChange } from "./stock.ts";

export type ReservationState = "HELD" | "COMMITTED" | "RELEASED" | "EXPIRED";

/** Units of a SKU that an order holds or has taken at one location. */
export interface ReservationLine {
  readonly sku: string;
  /** Empty where the SKU was not tracked when it was taken. */
  readonly location: string;
  readonly quantity: bigint;
  /** Those of them that came back. */
  readonly returned: bigint;
  readonly tracked: boolean;
}

export interface Reservation {
  readonly orderId: string;
  readonly state: ReservationState;
  /** Undefined where it was released before it came. */
  readonly expiresAt: Date | undefined;
  readonly lines: readonly ReservationLine[];
}

/** Units per SKU, in the order in which the SKUs were first named. */
export type Demand = ReadonlyMap<string, bigint>;

/** Adds up lines of one SKU. */
export function demandOf(lines: readonly { readonly sku: string; readonly quantity: bigint }[]): Demand {
  const demand = new Map<string, bigint>();
  for (const { sku, quantity } of lines) demand.set(sku, (demand.get(sku) ?? 0n) + quantity);
  return demand;
}

/** Whether both want the same. */
export function isSameDemand(one: Demand, other: Demand): boolean {
  return one.size === other.size && [...one].every(([sku, quantity]) => other.get(sku) === quantity);
}

/** What lines do to their levels, per unit of `quantity`; those that were not tracked do nothing. */
export function levelChanges(
  lines: readonly ReservationLine[],
  perUnit: { readonly onHand: 0n | 1n | -1n; readonly reserved: 0n | 1n | -1n },
  unitsOf: (line: ReservationLine) => bigint = ({ quantity }) => quantity,
): LevelChange[] {
  return lines
    .filter((line) => line.tracked && unitsOf(line) > 0n)
    .map((line) => ({
      sku: line.sku,
      location: line.location,
      onHand: perUnit.onHand * unitsOf(line),
      reserved: perUnit.reserved * unitsOf(line),
    }));
}

/** Units of a line that have not come back. */
export function leftOf({ quantity, returned }: ReservationLine): bigint {
  return quantity - returned;
}

/**
 * Spreads what comes back over the lines that it was taken by. Answers those lines, with `quantity` the units that come
 * back by each.
 * @throws AppError RETURN_TOO_LARGE
 */
export function spreadReturn(lines: readonly ReservationLine[], demand: Demand): ReservationLine[] {
  return [...demand].flatMap(([sku, wanted]) => {
    let left = wanted;
    const mine = lines.filter((line) => line.sku === sku);
    const shares = mine.map((line) => {
      const quantity = left < leftOf(line) ? left : leftOf(line);
      left -= quantity;
      return { ...line, quantity };
    });
    if (left > 0n) {
      const returnable = String(wanted - left);
      throw inventoryErrors.RETURN_TOO_LARGE({ metadata: { sku, returnable } });
    }
    return shares.filter(({ quantity }) => quantity > 0n);
  });
}
