import { create } from "@bufbuild/protobuf";
import type { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import {
  AdjustStockRequestSchema,
  AdjustStockResponseSchema,
  CreateLocationRequestSchema,
  CreateLocationResponseSchema,
  MovementKind as MovementKindProto,
  TransferStockRequestSchema,
  TransferStockResponseSchema,
  UpdateLocationRequestSchema,
  UpdateLocationResponseSchema,
  UpdateStockPolicyRequestSchema,
  UpdateStockPolicyResponseSchema,
} from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import { invalidRequest } from "../../platform/errors.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import { adjustStock, changePolicy, transferStock } from "./adjust-stock.ts";
import { locationToProto, movementToProto, stockToProto } from "./rpc-messages.ts";
import type { InventoryRpcOptions } from "./rpc.ts";
import type { MovementKind } from "./stock.ts";
import { MAIN_LOCATION } from "./stock.ts";
import { insertLocation, updateLocation } from "./store-locations.ts";

type StockMethod = "adjustStock" | "transferStock" | "updateStockPolicy" | "createLocation" | "updateLocation";

/** What who looks after the stock asks for. */
export function createStockRpc(options: InventoryRpcOptions): Pick<Handlers<typeof InventoryService>, StockMethod> {
  const { once, clock } = options;
  return {
    async adjustStock(request, call) {
      const { sku, delta, reason, expectedOnHand } = request;
      const adjustment = {
        sku,
        location: request.location || MAIN_LOCATION,
        delta,
        kind: kindOf(request.kind, delta),
        reason,
        actor: subjectKey(call.subject),
        expectedOnHand,
      };
      const claim = claimOf(call, AdjustStockRequestSchema, request);
      const outcome = await once(claim, AdjustStockResponseSchema, async (trx) => {
        const { item, movement } = await adjustStock(options, trx, adjustment);
        return create(AdjustStockResponseSchema, { stock: stockToProto(item), movement: movementToProto(movement) });
      });
      return answer(call, outcome);
    },

    async transferStock(request, call) {
      const { sku, fromLocation: from, toLocation: to, quantity, reason } = request;
      if (from === to) throw invalidRequest({ field: "to_location", description: "must not be from_location" });
      const transfer = { sku, from, to, quantity, reason, actor: subjectKey(call.subject) };
      const claim = claimOf(call, TransferStockRequestSchema, request);
      const outcome = await once(claim, TransferStockResponseSchema, async (trx) => {
        const item = await transferStock(options, trx, transfer);
        return create(TransferStockResponseSchema, { stock: stockToProto(item) });
      });
      return answer(call, outcome);
    },

    async updateStockPolicy(request, call) {
      const { sku, tracked, lowStockThreshold, backorderLimit } = request;
      const policy = { sku, tracked, lowStockThreshold, backorderLimit, location: request.location || MAIN_LOCATION };
      const claim = claimOf(call, UpdateStockPolicyRequestSchema, request);
      const outcome = await once(claim, UpdateStockPolicyResponseSchema, async (trx) => {
        const item = await changePolicy(options, trx, policy);
        return create(UpdateStockPolicyResponseSchema, { stock: stockToProto(item) });
      });
      return answer(call, outcome);
    },

    async createLocation(request, call) {
      const { code, name, priority } = request;
      const claim = claimOf(call, CreateLocationRequestSchema, request);
      const outcome = await once(claim, CreateLocationResponseSchema, async (trx) => {
        const location = await insertLocation(trx, { code, name, priority }, clock.now());
        return create(CreateLocationResponseSchema, { location: locationToProto(location) });
      });
      return answer(call, outcome);
    },

    async updateLocation(request, call) {
      const { code, name, priority, expectedVersion } = request;
      const change = { ...(name !== undefined && { name }), ...(priority !== undefined && { priority }) };
      const claim = claimOf(call, UpdateLocationRequestSchema, request);
      const outcome = await once(claim, UpdateLocationResponseSchema, async (trx) => {
        const location = await updateLocation(trx, code, expectedVersion, change, clock.now());
        return create(UpdateLocationResponseSchema, { location: locationToProto(location) });
      });
      return answer(call, outcome);
    },
  };
}

/** @throws AppError INVALID_REQUEST where units go by a kind by which they come */
function kindOf(kind: MovementKindProto, delta: bigint): MovementKind {
  const comes = kind === MovementKindProto.RECEIPT || kind === MovementKindProto.RETURN;
  if (comes && delta < 0n) {
    throw invalidRequest({ field: "delta", description: "must be above 0 for a receipt or a return" });
  }
  switch (kind) {
    case MovementKindProto.RECEIPT:
      return "RECEIPT";
    case MovementKindProto.RETURN:
      return "RETURN";
    case MovementKindProto.ADJUSTMENT:
      return "ADJUSTMENT";
    default:
      return delta > 0n ? "RECEIPT" : "ADJUSTMENT";
  }
}
