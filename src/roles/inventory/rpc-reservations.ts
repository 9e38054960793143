import type { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { ReturnStockRequestSchema } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import { requestDigest } from "../../platform/digest.ts";
import type { StockContext } from "./change-stock.ts";
import { commitReservation } from "./commit-reservation.ts";
import { releaseReservation } from "./release-reservation.ts";
import { demandOf } from "./reservation.ts";
import { reserveStock } from "./reserve-stock.ts";
import { returnStock } from "./return-stock.ts";
import { reservationToProto } from "./rpc-messages.ts";

type ReservationMethod = "reserveStock" | "commitReservation" | "releaseReservation" | "returnStock";

/** What the order role asks for. */
export function createReservationRpc(
  context: StockContext,
): Pick<Handlers<typeof InventoryService>, ReservationMethod> {
  return {
    async reserveStock({ orderId, lines, holdSeconds }) {
      const demand = demandOf(lines);
      const reservation = await reserveStock(context, { orderId: orderId.toLowerCase(), demand, holdSeconds });
      return { reservation: reservationToProto(reservation) };
    },

    async commitReservation({ orderId }, { subject }) {
      const reservation = await commitReservation(context, orderId.toLowerCase(), subjectKey(subject));
      return { reservation: reservationToProto(reservation) };
    },

    async releaseReservation({ orderId }, { subject }) {
      const reservation = await releaseReservation(context, orderId.toLowerCase(), subjectKey(subject));
      return { reservation: reservationToProto(reservation) };
    },

    async returnStock(request, { subject }) {
      const reservation = await returnStock(context, {
        orderId: request.orderId.toLowerCase(),
        returnId: request.returnId.toLowerCase(),
        demand: demandOf(request.lines),
        digest: requestDigest(ReturnStockRequestSchema, request, ["orderId", "returnId"]),
        actor: subjectKey(subject),
      });
      return { reservation: reservationToProto(reservation) };
    },
  };
}
