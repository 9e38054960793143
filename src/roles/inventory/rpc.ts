import type { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import type { Once } from "../../platform/idempotency.ts";
import type { PageTokens } from "../../platform/page.ts";
import type { StockContext } from "./change-stock.ts";
import { createReadRpc } from "./rpc-reads.ts";
import { createReservationRpc } from "./rpc-reservations.ts";
import { createStockRpc } from "./rpc-stock.ts";
import type { InventoryTables } from "./schema.ts";

export interface InventoryRpcOptions extends StockContext {
  readonly once: Once<InventoryTables>;
  readonly pages: PageTokens;
  /** Aborts when the process begins to stop. */
  readonly stopping: AbortSignal;
}

/** The service, by what its methods are about. */
export function createInventoryRpc(options: InventoryRpcOptions): Handlers<typeof InventoryService> {
  return { ...createStockRpc(options), ...createReadRpc(options), ...createReservationRpc(options) };
}
