import type { Bench } from "../support/bench.ts";
import { POOL_SIZE, createOrder } from "../support/calls.ts";
import { addCatalogue } from "../support/catalogue.ts";
import type { Plan, Round } from "../support/figures.ts";
import { load, withBacklog, withPausedSagas, withRows } from "../support/measure.ts";
import { startShop } from "../support/shop.ts";

const SKUS = 1_000;
const LINES = 3;
const CALLERS = 64;

export const recorded: Bench = {
  about: "CreateOrder, JSON through the gateway, while orders are carried out; against the same rows by bare pg",
  async open({ topology, window, lines = LINES, rate }, stack) {
    const shop = stack.use(await startShop({ topology }));
    const skus = await addCatalogue(shop, SKUS);
    const spare = await shop.spare("order");
    let reached = 0;
    const orders = (run: () => Promise<Round>) => withBacklog(shop, () => withRows(shop, "order", "orders", run));
    const closed = (callers: number) => async () => {
      const spec = await createOrder(shop, skus, lines, false);
      const round = await orders(() => load(shop, spec, { kind: "closed", callers }, window));
      if (callers === CALLERS) reached = round.value;
      return round;
    };
    const bare = (job: "order-statement" | "order-transaction", isPipelined: boolean, clients: number) => async () => {
      const options = { url: spare.url, clients, lines, isPipelined };
      return withRows(shop, spare.name, "orders", () =>
        load(shop, { job, options }, { kind: "closed", callers: clients }, window),
      );
    };
    const clients = `${String(POOL_SIZE)} clients`;
    const transactions = `pg, pipelined transaction, ${clients}`;
    const statements = `pg, the role's one statement, ${clients}`;
    const plans: Plan[] = [
      {
        name: `CreateOrder, ${String(CALLERS)} callers`,
        unit: "/s",
        against: [transactions, statements],
        run: closed(CALLERS),
      },
      { name: transactions, unit: "/s", run: bare("order-transaction", true, POOL_SIZE) },
      {
        name: `CreateOrder, ${String(CALLERS)} callers, sagas paused`,
        unit: "/s",
        against: [transactions, statements],
        run: async () => {
          const spec = await createOrder(shop, skus, lines, false);
          const arrivals = { kind: "closed", callers: CALLERS } as const;
          return orders(() => withPausedSagas(shop, () => load(shop, spec, arrivals, window)));
        },
      },
      { name: `pg, transaction, ${clients}`, unit: "/s", run: bare("order-transaction", false, POOL_SIZE) },
      { name: statements, unit: "/s", run: bare("order-statement", false, POOL_SIZE) },
      { name: "CreateOrder, 1 caller", unit: "/s", run: closed(1) },
      { name: "pg, the role's one statement, 1 client", unit: "/s", run: bare("order-statement", false, 1) },
      {
        name: `CreateOrder, open loop at half the rate of ${String(CALLERS)} callers`,
        unit: "/s",
        run: async () => {
          const spec = await createOrder(shop, skus, lines, false);
          const perSecond = rate ?? Math.max(1, Math.round(reached / 2));
          const round = await orders(() => load(shop, spec, { kind: "open", perSecond }, window));
          return { ...round, notes: { ...round.notes, "intended /s": perSecond } };
        },
      },
    ];
    return plans;
  },
};
