import type { Transaction } from "kysely";
import { InventoryEventSchema } from "#gen/commerce/inventory/v1/events_pb.ts";
import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import type { Outbox } from "../../platform/events/outbox.ts";
import { stockToProto } from "./rpc-messages.ts";
import type { InventoryTables } from "./schema.ts";
import type { Alert, StockItem } from "./stock.ts";

export const inventoryEvents = { emits: { schema: InventoryEventSchema, version: 1 } } satisfies EventsDeclaration;

/** Tells others what can be sold, in the change's own transaction. */
export interface StockAnnouncements {
  /** The new `alert` of a SKU, with the stock as it is after the change. */
  alert(trx: Transaction<InventoryTables>, item: StockItem): Promise<void>;
}

const eventOf = {
  NONE: "stockReplenished",
  LOW: "stockLow",
  DEPLETED: "stockDepleted",
} as const satisfies Record<Alert, string>;

export function announceStock(outbox: Outbox<typeof InventoryEventSchema>): StockAnnouncements {
  return {
    alert: (trx, item) =>
      outbox.emit(trx, item.id, { case: eventOf[item.alert], value: { stock: stockToProto(item) } }, item.updatedAt),
  };
}
