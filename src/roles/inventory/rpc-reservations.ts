import type { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { ReturnStockRequestSchema } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import { requestDigest } from "../../platform/digest.ts";
import { createTurns } from "../../platform/turns.ts";
import type { StockContext } from "./change-stock.ts";
import { commitReservation } from "./commit-reservation.ts";
import { releaseReservation } from "./release-reservation.ts";
import { demandOf } from "./reservation.ts";
import { reserveStock } from "./reserve-stock.ts";
import { returnStock } from "./return-stock.ts";
import { reservationToProto } from "./rpc-messages.ts";
import { listLines } from "./store-reservations.ts";

/** Of the ten connections of a process; the others are for reading, and for the sweeper. */
const AT_ONCE = 6;
/** Of these, for SKUs that nobody is at work on: whoever hangs with the lock of one does not stop the others. */
const KEPT = 3;
/** Reservations that wait for their turn, about a second of work. */
const MOST_WAITING = 1_000;

type ReservationMethod = "reserveStock" | "commitReservation" | "releaseReservation" | "returnStock";

/** What the order role asks for. */
export function createReservationRpc(
  context: StockContext,
): Pick<Handlers<typeof InventoryService>, ReservationMethod> {
  const inTurn = createTurns(AT_ONCE, MOST_WAITING, KEPT);
  /** The rows that a change of an order's reservation locks. */
  const rowsOf = async (orderId: string) => {
    const lines = await listLines(context.db, orderId);
    return new Set([orderId, ...lines.map(({ sku }) => sku)]);
  };
  return {
    async reserveStock({ orderId, lines, holdSeconds }, { signal }) {
      const request = { orderId: orderId.toLowerCase(), demand: demandOf(lines), holdSeconds };
      const reservation = await inTurn(
        signal,
        () => reserveStock(context, request),
        new Set([request.orderId, ...request.demand.keys()]),
      );
      return { reservation: reservationToProto(reservation) };
    },

    async commitReservation({ orderId }, { subject, signal }) {
      const id = orderId.toLowerCase();
      const reservation = await inTurn(
        signal,
        () => commitReservation(context, id, subjectKey(subject)),
        await rowsOf(id),
      );
      return { reservation: reservationToProto(reservation) };
    },

    async releaseReservation({ orderId }, { subject, signal }) {
      const id = orderId.toLowerCase();
      const reservation = await inTurn(
        signal,
        () => releaseReservation(context, id, subjectKey(subject)),
        await rowsOf(id),
      );
      return { reservation: reservationToProto(reservation) };
    },

    async returnStock(request, { subject, signal }) {
      const wanted = {
        orderId: request.orderId.toLowerCase(),
        returnId: request.returnId.toLowerCase(),
        demand: demandOf(request.lines),
        digest: requestDigest(ReturnStockRequestSchema, request, ["orderId", "returnId"]),
        actor: subjectKey(subject),
      };
      const reservation = await inTurn(
        signal,
        () => returnStock(context, wanted),
        new Set([wanted.orderId, ...wanted.demand.keys()]),
      );
      return { reservation: reservationToProto(reservation) };
    },
  };
}
