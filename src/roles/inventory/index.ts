import { InventoryEventSchema } from "#gen/commerce/inventory/v1/events_pb.ts";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { serve } from "../../platform/call.ts";
import { createOnce } from "../../platform/idempotency.ts";
import { defineRole } from "../../platform/role.ts";
import { addSamples } from "./add-samples.ts";
import { announceStock } from "./events.ts";
import { startSweeper } from "./expire-holds.ts";
import { cataloguePeer } from "./peers.ts";
import { createInventoryRpc } from "./rpc.ts";
import type { InventoryTables } from "./schema.ts";
import { createStockChanges } from "./stock-changes.ts";

/** Stock: what is there, what orders hold, and why it changed. */
export default defineRole({
  config: {},
  start({ database, outbox, peers, pages, clock, log, stopping }) {
    const db = database<InventoryTables>();
    const announce = announceStock(outbox(InventoryEventSchema));
    const context = { db, clock, announce, changes: createStockChanges() };
    const sweeper = startSweeper(context, log);
    return {
      services: [serve(InventoryService, createInventoryRpc({ ...context, once: createOnce(db), pages, stopping }))],
      addSamples: () => addSamples(context, cataloguePeer(peers)),
      close: () => sweeper.close(),
    };
  },
});
