import type { Bench } from "../support/bench.ts";
import { addCatalogue } from "../support/catalogue.ts";
import { load, withBacklog, withRows } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const SKUS = 1_000;
const LINES = 3;
const BATCH = 100;
const CLIENTS = 2;
/** Orders of one stream in each second of the window: a stream is as long as it takes. */
const ORDERS_PER_SECOND = 300;

export const streamedOrders: Bench = {
  about: "CreateOrders, one stream of binary Connect over HTTP/2, against inserts of 100 orders from arrays",
  async open({ topology, window, lines = LINES }, stack) {
    const shop = stack.use(await startShop({ topology }));
    const skus = await addCatalogue(shop, SKUS);
    const spare = await shop.spare("order");
    const orders = Math.round((window.ms / 1_000) * ORDERS_PER_SECOND);
    const batched = `pg, inserts of ${String(BATCH)} orders, ${String(CLIENTS)} clients`;
    const stream = async (count: number) => {
      const [authorization = ""] = await shop.buyers(1);
      const options = { url: shop.url, authorization, skus, lines, orders: count };
      const spec = { job: "orders-stream", options } as const;
      return withBacklog(shop, () =>
        withRows(shop, "order", "orders", () => load(shop, spec, { kind: "once", callers: 1 }, window)),
      );
    };
    return [
      {
        name: `CreateOrders of ${orders.toLocaleString("en")}`,
        unit: "/s",
        against: [batched],
        run: () => stream(orders),
      },
      {
        name: batched,
        unit: "/s",
        run: () => {
          const options = { url: spare.url, clients: CLIENTS, lines, batch: BATCH };
          return withRows(shop, spare.name, "orders", () =>
            load(shop, { job: "order-batch", options }, { kind: "closed", callers: CLIENTS }, window),
          );
        },
      },
    ];
  },
};
