import { anonymous } from "../../src/platform/call.ts";
import type { Bench } from "../support/bench.ts";
import { answerOf, getProduct } from "../support/calls.ts";
import { addProducts } from "../support/catalogue.ts";
import type { Plan } from "../support/figures.ts";
import { load, loadBareServer } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const PRODUCTS = 10_000;
const CALLERS = 64;

export const getProducts: Bench = {
  about: "GetProduct, JSON through the gateway and past it, against bare node:http that answers the same bytes",
  async open({ topology, window }, stack) {
    const shop = stack.use(await startShop({ topology }));
    await addProducts(shop, PRODUCTS);
    const spec = await getProduct(shop);
    const body = await answerOf(spec);
    const bare = "node:http, the same bytes";
    const direct = "GetProduct at the product role";
    const through = (callers: number) => () => load(shop, spec, { kind: "closed", callers }, window);
    const plans: Plan[] = [
      {
        name: `GetProduct, ${String(CALLERS)} callers`,
        unit: "/s",
        against: topology === "apart" ? [bare, direct] : [bare],
        run: through(CALLERS),
      },
      { name: bare, unit: "/s", run: () => loadBareServer(shop, body, spec, CALLERS, window) },
      { name: "GetProduct, 1 caller", unit: "/s", run: through(1) },
    ];
    if (topology === "one") return plans;
    return [
      ...plans,
      {
        name: direct,
        unit: "/s",
        run: async () => {
          const assertion = await shop.assertion("gateway", "product", anonymous);
          const past = await getProduct(shop, shop.direct("product"), assertion);
          return load(shop, past, { kind: "closed", callers: CALLERS }, window);
        },
      },
    ];
  },
};
