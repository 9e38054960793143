import type { RawBuilder, Transaction } from "kysely";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { PaymentEventSchema } from "#gen/commerce/payment/v1/events_pb.ts";
import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import { consumption } from "../../platform/events/declaration.ts";
import type { Outbox } from "../../platform/events/outbox.ts";
import type { Order, OrderState } from "./order.ts";
import { orderToProto } from "./rpc-messages.ts";
import type { OrderTables } from "./schema.ts";

/** All that may let an order go on that waits. */
export const paymentConsumption = consumption(PaymentEventSchema, 1, [
  "authorized",
  "declined",
  "captured",
  "captureFailed",
  "voided",
  "refunded",
  "refundFailed",
]);

export const orderEvents = {
  emits: { schema: OrderEventSchema, version: 1 },
  consumes: [paymentConsumption],
} satisfies EventsDeclaration;

const cases = {
  PENDING: "placed",
  AWAITING_PAYMENT: "awaitingPayment",
  CONFIRMED: "confirmed",
  FULFILLED: "fulfilled",
  DELIVERED: "delivered",
  REJECTED: "rejected",
  CANCELLED: "cancelled",
} as const satisfies Record<OrderState, string>;

/** Tells others of the changes of orders. */
export interface OrderAnnouncements {
  /** The event of an order that a statement records, as parts of that statement; see `Outbox.first`. */
  placed(order: Order, condition: RawBuilder<unknown>): RawBuilder<unknown>;
  /** Once such a statement is done. */
  wake(): void;
  /** In the transaction of the change, with the order as it is after it. */
  advanced(trx: Transaction<OrderTables>, order: Order): Promise<void>;
}

export function announceOrders(outbox: Outbox<typeof OrderEventSchema>): OrderAnnouncements {
  const eventOf = (order: Order) => ({ case: cases[order.state], value: { order: orderToProto(order) } });
  return {
    placed: (order, condition) => outbox.first(order.id, eventOf(order), order.createdAt, condition),
    wake: () => {
      outbox.wake();
    },
    advanced: (trx, order) => outbox.emit(trx, order.id, eventOf(order), order.updatedAt),
  };
}
