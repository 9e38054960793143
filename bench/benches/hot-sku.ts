import type { Bench } from "../support/bench.ts";
import { POOL_SIZE, reserveStock } from "../support/calls.ts";
import { addStock, skuOf } from "../support/catalogue.ts";
import { load, withRows } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const CALLERS = 64;

export const hotSku: Bench = {
  about: "ReserveStock of one SKU that all want, at the inventory role itself, against a transaction each by bare pg",
  async open({ window }, stack) {
    // In one process the role has no port of its own.
    const shop = stack.use(await startShop({ topology: "apart" }));
    const spare = await shop.spare("inventory");
    for (const database of ["inventory", spare.name]) await addStock(shop, database, 1);
    const sku = skuOf(1);
    const transactions = `pg, a transaction each, ${String(POOL_SIZE)} clients`;
    return [
      {
        name: `ReserveStock, ${String(CALLERS)} callers`,
        unit: "/s",
        against: [transactions],
        run: async () => {
          const spec = await reserveStock(shop, sku);
          return withRows(shop, "inventory", "reservations", () =>
            load(shop, spec, { kind: "closed", callers: CALLERS }, window),
          );
        },
      },
      {
        name: transactions,
        unit: "/s",
        run: () => {
          const options = { url: spare.url, clients: POOL_SIZE, sku };
          return withRows(shop, spare.name, "reservations", () =>
            load(shop, { job: "reserve-transaction", options }, { kind: "closed", callers: POOL_SIZE }, window),
          );
        },
      },
    ];
  },
};
