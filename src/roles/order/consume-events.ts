import type { Transaction } from "kysely";
import { afterCommit } from "../../platform/database.ts";
import type { Consumer, ReceivedEvent } from "../../platform/events/declaration.ts";
import { on } from "../../platform/events/declaration.ts";
import { paymentConsumption } from "./events.ts";
import type { OrderTables } from "./schema.ts";
import { wakeSagas } from "./store-sagas.ts";

/**
 * What is done for each event of a payment: what is under way for its order is looked at now. The event is only a hint:
 * the payment role is asked for what is so.
 */
export function createConsumers(wake: () => void): readonly Consumer[] {
  const wakeOrder = async (
    trx: Transaction<OrderTables>,
    { payment }: { readonly payment?: { readonly orderId: string } | undefined },
    event: ReceivedEvent,
  ): Promise<void> => {
    if (!payment) throw new Error(`${event.type} without its payment`);
    await wakeSagas(trx, [payment.orderId]);
    afterCommit(trx, wake);
  };
  return [
    on(paymentConsumption, {
      authorized: wakeOrder,
      declined: wakeOrder,
      captured: wakeOrder,
      captureFailed: wakeOrder,
      voided: wakeOrder,
      refunded: wakeOrder,
      refundFailed: wakeOrder,
    }),
  ];
}
