import { create } from "@bufbuild/protobuf";
import type { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import {
  AvailabilityState,
  ListMovementsRequestSchema,
  ListStockRequestSchema,
  StockItemSchema,
} from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { locationToProto, movementToProto, stockToProto } from "./rpc-messages.ts";
import type { InventoryRpcOptions } from "./rpc.ts";
import { availabilityOf } from "./stock.ts";
import { listLocations } from "./store-locations.ts";
import { findStock, listMovements, listStock } from "./store-reads.ts";
import { watchStock } from "./watch-stock.ts";

type ReadMethod =
  | "batchGetStock"
  | "listStock"
  | "batchGetAvailability"
  | "listMovements"
  | "watchStock"
  | "listLocations";

/** What is asked of the stock. */
export function createReadRpc(options: InventoryRpcOptions): Pick<Handlers<typeof InventoryService>, ReadMethod> {
  const { db, pages } = options;
  return {
    async batchGetStock(request, { signal }) {
      const skus = [...new Set(request.skus)];
      const items = new Map((await findStock(db, skus, signal)).map((item) => [item.sku, item]));
      const found = skus.map((sku) => items.get(sku)).filter((item) => item !== undefined);
      return { stock: found.map(stockToProto), absentSkus: skus.filter((sku) => !items.has(sku)) };
    },

    async listStock(request, call) {
      const page = pages.open({
        call,
        schema: ListStockRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const items = await listStock(db, request, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(items, ({ sku }) => [sku]);
      return { stock: rows.map(stockToProto), nextPageToken };
    },

    async batchGetAvailability(request, { signal }) {
      const skus = [...new Set(request.skus)];
      const items = new Map((await findStock(db, skus, signal)).map((item) => [item.sku, item]));
      const stateOf = (sku: string) => AvailabilityState[availabilityOf(items.get(sku))];
      return { availabilities: skus.map((sku) => ({ sku, state: stateOf(sku) })) };
    },

    async listMovements(request, call) {
      const page = pages.open({
        call,
        schema: ListMovementsRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const movements = await listMovements(db, request, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(movements, ({ position }) => [String(position)]);
      return { movements: rows.map(movementToProto), nextPageToken };
    },

    async *watchStock(request, call) {
      for await (const { sku, item } of watchStock(options, call, new Set(request.skus))) {
        yield { stock: item ? stockToProto(item) : create(StockItemSchema, { sku, tracked: true }) };
      }
    },

    async listLocations() {
      return { locations: (await listLocations(db)).map(locationToProto) };
    },
  };
}
