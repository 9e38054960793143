import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { DeadLetterService, OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { serve } from "../../platform/call.ts";
import { validator } from "../../platform/config.ts";
import { wholeNumber } from "../../platform/config-validators.ts";
import { createDeadLetterRpc } from "../../platform/events/dead-letters.ts";
import { keepPruning } from "../../platform/keep-pruning.ts";
import type { RoleDefinition } from "../../platform/role.ts";
import { defineRole } from "../../platform/role.ts";
import { createConsumers } from "./consume-events.ts";
import { announceOrders } from "./events.ts";
import { checkoutPeers, orderPeers } from "./peers.ts";
import { orderRpc } from "./rpc.ts";
import type { SagaTimings } from "./run-sagas.ts";
import { sagaTimings, startSagas } from "./run-sagas.ts";
import type { OrderTables } from "./schema.ts";
import { ORDER_CHANNEL } from "./store.ts";
import { pruneSagas } from "./store-sagas.ts";
import { parseTaxTable, sampleTaxTable } from "./tax.ts";

/** Milliseconds between runs. */
const PRUNE_EVERY_MS = 3_600_000;

const taxTable = validator(parseTaxTable);
const seconds = wholeNumber(1, 604_800);

/** Orders: recording them, reading them, and carrying them out. Tests are in more of a hurry than shops. */
export function orderRole(timings: SagaTimings = sagaTimings): RoleDefinition {
  return defineRole({
    config: {
      TAX_TABLE: taxTable({
        default: sampleTaxTable,
        desc: 'JSON: {"inclusive":false,"country":"DE","rates":{"DE":{"standard":1900,"reduced":700}}} in basis points',
      }),
      ORDER_PAYMENT_SECONDS: seconds({
        default: 1_800,
        desc: "Seconds that a buyer has for confirming a payment; the order is cancelled then",
      }),
      ORDER_HOLD_SECONDS: seconds({
        default: 2_100,
        desc: "Seconds that the units of an order are held until it is paid; more than ORDER_PAYMENT_SECONDS",
      }),
      ORDER_OVERLOAD_SECONDS: seconds({
        default: 30,
        desc: "Seconds that the longest due order may wait to be carried on; beyond it no more orders are taken, OVERLOADED",
      }),
    },
    start({ config, database, listen, outbox, peers, pages, clock, stopping, wakeInbox, log }) {
      const { ORDER_HOLD_SECONDS: holdSeconds, ORDER_PAYMENT_SECONDS: paymentSeconds } = config;
      if (holdSeconds <= paymentSeconds) {
        throw new Error(
          `ORDER_HOLD_SECONDS (${String(holdSeconds)}) must be more than ORDER_PAYMENT_SECONDS (${String(paymentSeconds)}).`,
        );
      }
      const db = database<OrderTables>();
      const announce = announceOrders(outbox(OrderEventSchema));
      const limits = { ...timings, paymentMs: paymentSeconds * 1_000 };
      const sagas = startSagas(
        {
          db,
          announce,
          peers: checkoutPeers(peers),
          clock,
          limits,
          leaseMs: timings.leaseMs,
          callMs: timings.callMs,
          holdSeconds,
          log,
        },
        timings,
        config.ORDER_OVERLOAD_SECONDS * 1_000,
      );
      const { wake, isOverloaded } = sagas;
      const handlers = orderRpc({
        db,
        notifications: listen(ORDER_CHANNEL),
        stopping,
        peers: orderPeers(peers),
        taxes: config.TAX_TABLE,
        pages,
        clock,
        announce,
        wake,
        isOverloaded,
      });
      const stopPruning = keepPruning("finished sagas", PRUNE_EVERY_MS, () => pruneSagas(db), log);
      const consumers = createConsumers(wake);
      const deadLetters = createDeadLetterRpc({ db: database<unknown>(), pages, consumers, wake: wakeInbox });
      return {
        services: [serve(OrderService, handlers), serve(DeadLetterService, deadLetters)],
        consumers,
        async close() {
          await Promise.all([sagas.close(), stopPruning()]);
        },
      };
    },
  });
}

export default orderRole();
