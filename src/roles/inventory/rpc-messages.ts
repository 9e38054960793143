import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type {
  Location,
  Reservation as ReservationProto,
  StockItem as StockItemProto,
  StockMovement,
} from "#gen/commerce/inventory/v1/inventory_pb.ts";
import {
  LocationSchema,
  MovementKind,
  ReservationSchema,
  ReservationState,
  StockItemSchema,
  StockMovementSchema,
} from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Reservation, ReservationLine } from "./reservation.ts";
import type { StockItem } from "./stock.ts";
import { availableAt, total } from "./stock.ts";
import type { LocationRow } from "./store-locations.ts";
import type { Movement } from "./store.ts";

/** The stock of a SKU as every method answers it. */
export function stockToProto(item: StockItem): StockItemProto {
  const { sku, tracked, lowStockThreshold, version, updatedAt, levels } = item;
  return create(StockItemSchema, {
    sku,
    tracked,
    onHand: total(levels, ({ onHand }) => onHand),
    reserved: total(levels, ({ reserved }) => reserved),
    available: total(levels, availableAt),
    lowStockThreshold,
    levels: levels.map((level) => ({
      location: level.location,
      onHand: level.onHand,
      reserved: level.reserved,
      available: availableAt(level),
      backorderLimit: level.backorderLimit,
    })),
    version,
    updatedAt: timestampFromDate(updatedAt),
  });
}

/** A movement as every method answers it. */
export function movementToProto({ kind, orderId = "", occurredAt, ...movement }: Movement): StockMovement {
  const { id, sku, location, delta, onHand, reason, actor } = movement;
  return create(StockMovementSchema, {
    id,
    sku,
    location,
    kind: MovementKind[kind],
    delta,
    onHand,
    reason,
    orderId,
    actor,
    occurredAt: timestampFromDate(occurredAt),
  });
}

/** A reservation as every method answers it: lines by SKU, then by location. */
export function reservationToProto({ orderId, state, lines, expiresAt }: Reservation): ReservationProto {
  return create(ReservationSchema, {
    orderId,
    state: ReservationState[state],
    lines: lines
      .toSorted((a, b) => compare(a.sku, b.sku) || compare(a.location, b.location))
      .map(({ sku, location, quantity, returned }: ReservationLine) => ({ sku, location, quantity, returned })),
    ...(expiresAt && { expiresAt: timestampFromDate(expiresAt) }),
  });
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A location as every method answers it. */
export function locationToProto(location: LocationRow): Location {
  return create(LocationSchema, {
    code: location.code,
    name: location.name,
    priority: location.priority,
    version: location.version,
    createdAt: timestampFromDate(location.created_at),
    updatedAt: timestampFromDate(location.updated_at),
  });
}
