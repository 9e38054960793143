import type { Bench } from "../support/bench.ts";
import { answerOf, queryProducts } from "../support/calls.ts";
import { addProducts } from "../support/catalogue.ts";
import { load, loadBareServer } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const PRODUCTS = 10_000;
const CALLERS = 64;

export const queriedProducts: Bench = {
  about: "QueryProducts of 20, JSON through the gateway, against bare node:http that answers the same bytes",
  async open({ topology, window }, stack) {
    const shop = stack.use(await startShop({ topology }));
    await addProducts(shop, PRODUCTS);
    const spec = queryProducts(shop);
    const body = await answerOf(spec);
    const bare = "node:http, the same bytes";
    return [
      {
        name: `QueryProducts, ${String(CALLERS)} callers`,
        unit: "/s",
        against: [bare],
        run: () => load(shop, spec, { kind: "closed", callers: CALLERS }, window),
      },
      { name: bare, unit: "/s", run: () => loadBareServer(shop, body, spec, CALLERS, window) },
    ];
  },
};
