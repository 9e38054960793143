import { validator } from "../../platform/config.ts";
import { defineRole } from "../../platform/role.ts";
import { serve } from "../../platform/call.ts";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { announceOrders } from "./events.ts";
import { orderPeers } from "./peers.ts";
import { orderRpc } from "./rpc.ts";
import type { OrderTables } from "./schema.ts";
import { ORDER_CHANNEL } from "./store.ts";
import { parseTaxTable, sampleTaxTable } from "./tax.ts";

const taxTable = validator(parseTaxTable);

/** Orders: recording them, reading them, and what becomes of them. */
export default defineRole({
  config: {
    TAX_TABLE: taxTable({
      default: sampleTaxTable,
      desc: 'JSON: {"inclusive":false,"country":"DE","rates":{"DE":{"standard":1900,"reduced":700}}} in basis points',
    }),
  },
  start({ config, database, listen, outbox, peers, pages, clock, stopping }) {
    const db = database<OrderTables>();
    const notifications = listen(ORDER_CHANNEL);
    const handlers = orderRpc({
      db,
      notifications,
      stopping,
      peers: orderPeers(peers),
      taxes: config.TAX_TABLE,
      pages,
      clock,
      announce: announceOrders(outbox(OrderEventSchema)),
    });
    return { services: [serve(OrderService, handlers)] };
  },
});
