import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import type { Peers } from "../../platform/clients/clients.ts";

/** What this role needs of the catalogue. */
export interface CataloguePeer {
  /** The SKUs on sale, in chunks. @throws PeerError */
  listSkus(): AsyncIterable<string[]>;
}

export function cataloguePeer(peers: Peers): CataloguePeer {
  const products = peers.client(ProductService);
  return {
    async *listSkus() {
      for await (const { products: chunk } of products.listProducts({})) {
        yield chunk.flatMap(({ variants }) => variants.map(({ sku }) => sku));
      }
    },
  };
}
