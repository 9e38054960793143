import type { Generated } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { ReservationState } from "./reservation.ts";
import type { Alert, MovementKind } from "./stock.ts";

export interface Locations {
  code: string;
  name: string;
  /** Orders take from the lowest first. */
  priority: number;
  version: Generated<number>;
  created_at: Date;
  updated_at: Date;
}

/** The row is the lock of its SKU: levels, movements and policy change only under it. */
export interface StockItems {
  sku: string;
  /** The aggregate of its events. */
  id: string;
  tracked: Generated<boolean>;
  low_stock_threshold: Generated<bigint>;
  version: Generated<bigint>;
  /** What was last announced. */
  alert: Generated<Alert>;
  created_at: Date;
  updated_at: Date;
}

export interface StockLevels {
  sku: string;
  location: string;
  on_hand: Generated<bigint>;
  reserved: Generated<bigint>;
  backorder_limit: Generated<bigint>;
}

/** The row is the lock of its lines. */
export interface Reservations {
  order_id: string;
  state: ReservationState;
  /** By the database's clock; null where it was released before it came. */
  expires_at: Date | null;
  created_at: Date;
  updated_at: Date;
}

export interface ReservationLines {
  order_id: string;
  sku: string;
  /** Empty where the SKU was not tracked. */
  location: string;
  quantity: bigint;
  returned: Generated<bigint>;
  /** Whether the SKU was tracked when it was taken: only then its levels were touched. */
  tracked: boolean;
}

export interface StockReturns {
  return_id: string;
  order_id: string;
  digest: Buffer;
  created_at: Date;
}

/** Append-only. */
export interface StockMovements {
  id: string;
  position: Generated<bigint>;
  order_id: string | null;
  sku: string;
  location: string;
  kind: MovementKind;
  delta: bigint;
  /** After it. */
  on_hand: bigint;
  reason: string;
  actor: string;
  occurred_at: Date;
}

export interface InventoryTables extends WithIdempotencyKeys {
  locations: Locations;
  stock_items: StockItems;
  stock_levels: StockLevels;
  reservations: Reservations;
  reservation_lines: ReservationLines;
  stock_returns: StockReturns;
  stock_movements: StockMovements;
}
