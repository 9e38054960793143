import { ProductEventSchema } from "#gen/commerce/product/v1/events_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { serve } from "../../platform/call.ts";
import { createOnce } from "../../platform/idempotency.ts";
import { defineRole } from "../../platform/role.ts";
import { addSamples } from "./add-samples.ts";
import { announceCatalogue } from "./events.ts";
import { createProductRpc } from "./rpc.ts";
import type { ProductTables } from "./schema.ts";

export default defineRole({
  config: {},
  start({ database, outbox, pages, clock }) {
    const db = database<ProductTables>();
    const announce = announceCatalogue(outbox(ProductEventSchema));
    return {
      services: [serve(ProductService, createProductRpc({ db, once: createOnce(db), pages, clock, announce }))],
      addSamples: () => addSamples(db, clock, announce),
    };
  },
});
