import type { Transaction } from "kysely";
import { PaymentEventSchema } from "#gen/commerce/payment/v1/events_pb.ts";
import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import type { Outbox } from "../../platform/events/outbox.ts";
import type { Payment } from "./payment.ts";
import { paymentToProto } from "./rpc-messages.ts";
import type { PaymentTables } from "./schema.ts";
import type { Happening } from "./settlement.ts";

export const paymentEvents = { emits: { schema: PaymentEventSchema, version: 1 } } satisfies EventsDeclaration;

/** Tells others what happened to a payment, in the transaction of the change, with the payment as it is after it. */
export type Announce = (trx: Transaction<PaymentTables>, happening: Happening, payment: Payment) => Promise<void>;

export function announcePayments(outbox: Outbox<typeof PaymentEventSchema>): Announce {
  return (trx, happening, payment) => {
    const message = paymentToProto(payment);
    const event =
      happening.name === "refunded" || happening.name === "refundFailed"
        ? { case: happening.name, value: { payment: message, refundId: happening.refundId } }
        : { case: happening.name, value: { payment: message } };
    return outbox.emit(trx, payment.id, event, payment.updatedAt);
  };
}
