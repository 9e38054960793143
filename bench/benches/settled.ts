import type { Bench } from "../support/bench.ts";
import { POOL_SIZE, createOrder } from "../support/calls.ts";
import { addCatalogue } from "../support/catalogue.ts";
import type { Plan } from "../support/figures.ts";
import { load, withBacklog, withRows } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const SKUS = 1_000;
const LINES = 1;
const CALLERS = [8, 64];

export const settled: Bench = {
  about: "CreateOrder that waits until the order is CONFIRMED, with the sandbox provider",
  async open({ topology, window, lines = LINES }, stack) {
    const shop = stack.use(await startShop({ topology }));
    const skus = await addCatalogue(shop, SKUS);
    const spare = await shop.spare("order");
    const transactions = `pg, pipelined transaction that records it, ${String(POOL_SIZE)} clients`;
    const checkouts = CALLERS.map(
      (callers): Plan => ({
        name: `checkouts, ${String(callers)} callers`,
        unit: "/s",
        against: [transactions],
        run: async () => {
          const spec = await createOrder(shop, skus, lines, true);
          const isConfirmed = "orders where state = 'CONFIRMED'";
          return withBacklog(shop, () =>
            withRows(shop, "order", isConfirmed, () => load(shop, spec, { kind: "closed", callers }, window)),
          );
        },
      }),
    );
    const bare: Plan = {
      name: transactions,
      unit: "/s",
      run: () => {
        const options = { url: spare.url, clients: POOL_SIZE, lines, isPipelined: true };
        return withRows(shop, spare.name, "orders", () =>
          load(shop, { job: "order-transaction", options }, { kind: "closed", callers: POOL_SIZE }, window),
        );
      },
    };
    return [...checkouts, bare];
  },
};
