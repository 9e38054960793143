import { UserService, UserState } from "#gen/commerce/user/v1/user_pb.ts";
import { ProductService, ProductState } from "#gen/commerce/product/v1/product_pb.ts";
import type { Call } from "../../platform/call.ts";
import type { Peers } from "../../platform/clients/clients.ts";
import { serving } from "../../platform/clients/serving.ts";
import type { Money } from "../../platform/money.ts";

/** What an order needs to know of its buyer. */
export interface Buyer {
  readonly id: string;
  readonly active: boolean;
}

/** What the catalogue says of a SKU that is on sale. */
export interface Offer {
  readonly sku: string;
  readonly productId: string;
  readonly title: string;
  readonly options: Readonly<Record<string, string>>;
  readonly price: Money;
  readonly taxCategory: string;
}

/** What the order role needs of others. */
export interface OrderPeers {
  /** Undefined where there is no such user. */
  findBuyer(call: Call, userId: string): Promise<Buyer | undefined>;
  /** The offers of those SKUs that are on sale, by SKU. */
  findOffers(call: Call, skus: readonly string[]): Promise<ReadonlyMap<string, Offer>>;
}

export function orderPeers(peers: Peers): OrderPeers {
  const users = peers.client(UserService);
  const products = peers.client(ProductService);
  return {
    async findBuyer(call, userId) {
      const response = await users.batchGetUsers({ ids: [userId] }, serving(call));
      const user = response.users[0];
      return user && { id: user.id, active: user.state === UserState.ACTIVE };
    },

    async findOffers(call, skus) {
      const wanted = new Set(skus);
      const response = await products.batchGetProducts({ skus: [...wanted] }, serving(call));
      const offers = response.products
        .filter((product) => product.state === ProductState.ACTIVE)
        .flatMap((product) =>
          product.variants.flatMap(({ sku, options, price }): Offer[] => {
            if (!wanted.has(sku) || !price) return [];
            const { id: productId, title, taxCategory } = product;
            const money = { currency: price.currencyCode, minor: price.amountMinor };
            return [{ sku, productId, title, options, price: money, taxCategory }];
          }),
        );
      return new Map(offers.map((offer) => [offer.sku, offer]));
    },
  };
}
