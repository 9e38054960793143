import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { serve } from "../../platform/call.ts";
import { createOnce } from "../../platform/idempotency.ts";
import { defineRole } from "../../platform/role.ts";
import { addSamples } from "./add-samples.ts";
import { createProductRpc } from "./rpc.ts";
import type { ProductTables } from "./schema.ts";

export default defineRole({
  config: {},
  start(context) {
    const db = context.database<ProductTables>();
    const { pages, clock } = context;
    return {
      services: [serve(ProductService, createProductRpc({ db, once: createOnce(db), pages, clock }))],
      addSamples: () => addSamples(db, clock),
    };
  },
});
