import { setTimeout as delay } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import fc from "fast-check";
import { markedFailpoints } from "../../support/failpoints.ts";
import { printTable, rounds, tally } from "../report.ts";
import type { Purchase } from "./buyers.ts";
import { accepted, createBuyers, endOf } from "./buyers.ts";
import type { FaultShop } from "./shop.ts";
import { startFaultShop } from "./shop.ts";

/*
 * Random histories: people buy, cancel and are refunded with every card of the sandbox, stock is adjusted, while processes are
 * killed, stopped and started at points of the saga. Then the shop comes to rest, and every promise must hold; stock is
 * counted against what the buyers were told.
 *
 * A history that breaks one is printed with its seed; `FAULT_SEED=<seed> npm run test:faults -- random` repeats it.
 */

const startedAt = performance.now();
const seed = Number(process.env["FAULT_SEED"] ?? String(Math.floor(Math.random() * 2 ** 31)));
const histories = process.env["FAULT_SEED"] === undefined ? Math.max(2, Math.ceil(rounds / 2)) : 1;
const tokens = [
  "",
  "tok_approved",
  "tok_declined",
  "tok_error_after_charge",
  "tok_error_after_capture",
  "tok_capture_refused",
  "tok_refund_refused",
  "tok_refund_pending",
  "tok_requires_action",
  "tok_webhook_twice",
  "tok_webhook_early",
  "tok_webhook_never",
];
/** Milliseconds that somebody waits for an order before doing something else with it. */
const SETTLE_MS = 20_000;
const killable = ["order", "inventory", "payment"];
const points = [...markedFailpoints().values()].flat();

type Act =
  | { readonly kind: "buy"; readonly token: string; readonly quantity: number; readonly lines: number }
  | { readonly kind: "cancel" | "cancel later" | "refund" | "restock"; readonly which: number }
  | { readonly kind: "adjust"; readonly delta: number }
  | { readonly kind: "kill"; readonly role: string }
  | { readonly kind: "kill at"; readonly point: string }
  | { readonly kind: "settle"; readonly which: number };

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("buy" as const),
      token: fc.constantFrom(...tokens),
      quantity: fc.integer({ min: 1, max: 3 }),
      lines: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("cancel" as const, "cancel later" as const, "refund" as const, "restock" as const),
      which: fc.nat(30),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("adjust" as const), delta: fc.integer({ min: -5, max: 10 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("kill" as const), role: fc.constantFrom(...killable) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("kill at" as const), point: fc.constantFrom(...points) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("settle" as const), which: fc.nat(30) }) },
);

const table: string[][] = [["histories", "acts", "kills", "orders", "violations"]];
afterAll(() => {
  printTable(`Random histories, seed ${String(seed)}`, startedAt, table);
});

test("whatever happens in whichever order, every promise holds afterwards", async () => {
  await using shop = await startFaultShop({ replicas: ["order"], env: { ORDER_PAYMENT_SECONDS: "5" } });
  const lists = fc.sample(fc.array(act, { minLength: 30, maxLength: 45, size: "max" }), { numRuns: histories, seed });
  let kills = 0;
  const ends: string[] = [];
  for (const [index, list] of lists.entries()) {
    const history = await play(shop, list);
    kills += history.kills;
    ends.push(...history.ends);
    if (history.broken.length > 0) {
      console.info(
        `history ${String(index)} of seed ${String(seed)}:\n${list.map((each) => JSON.stringify(each)).join("\n")}`,
      );
    }
    expect(history.broken, [`FAULT_SEED=${String(seed)}`, ...history.broken].join("\n")).toEqual([]);
  }
  table.push([String(lists.length), String(lists.flat().length), String(kills), tally(ends), "0"]);
});

interface Played {
  readonly kills: number;
  readonly ends: readonly string[];
  readonly broken: readonly string[];
}

async function play(shop: FaultShop, list: readonly Act[]): Promise<Played> {
  const buyers = createBuyers(shop.clients);
  const opening = 25;
  const sku = await shop.addGoods(opening);
  let adjusted = 0;
  const revival = startRevival(shop);
  const work: Promise<unknown>[] = [];
  const armed = new Set<string>();
  const bought: Promise<Purchase>[] = [];
  /** Does something to an order that was bought before, as soon as its id is known. */
  const later = (which: number, what: (id: string) => Promise<unknown>) => {
    const purchase = bought[which % Math.max(1, bought.length)];
    if (purchase) work.push(purchase.then(({ first }) => what(first.id)));
  };

  for (const each of list) {
    switch (each.kind) {
      case "buy": {
        const items = Array.from({ length: each.lines }, () => ({ sku, quantity: each.quantity }));
        const purchase = buyers.buy({ items, token: each.token });
        bought.push(purchase);
        work.push(purchase);
        break;
      }
      case "cancel":
        later(each.which, (id) => buyers.cancel(id));
        break;
      case "cancel later":
        later(each.which, async (id) => {
          await buyers.settled(id, SETTLE_MS);
          await buyers.cancel(id);
        });
        break;
      case "refund":
      case "restock":
        later(each.which, async (id) => {
          await buyers.settled(id, SETTLE_MS);
          // Of every other one a single unit, as long as there are any.
          await buyers.refund(id, each.kind === "restock", each.which % 2 === 1 ? 1 : undefined);
        });
        break;
      case "adjust": {
        const call = { sku, delta: BigInt(each.delta), idempotencyKey: `${sku} ${String(work.length)}` };
        if (each.delta !== 0) work.push(adjust(shop, call).then((done) => (adjusted += done ? each.delta : 0)));
        break;
      }
      case "settle": {
        const { first } = (await bought[each.which % Math.max(1, bought.length)]) ?? {};
        if (first) await buyers.settled(first.id, 3_000);
        break;
      }
      case "kill":
        shop.installation.processes[each.role]?.kill("SIGKILL");
        break;
      case "kill at":
        await shop.failpoints.arm(each.point, "kill");
        armed.add(each.point);
        break;
    }
  }
  for (const point of armed) await shop.failpoints.disarm(point);
  await Promise.all(work);
  await revival.stop();
  // Who waits for a buyer is at rest until that one's time is over.
  await Promise.all(buyers.purchases.map(({ first }) => buyers.settled(first.id, SETTLE_MS)));
  const { broken } = await shop.rest();
  const found = broken.length > 0 ? broken : await buyers.miscounted(sku, opening + adjusted);
  const orders = await Promise.all(buyers.purchases.map(({ first }) => buyers.get(first.id)));
  return { kills: revival.count(), ends: orders.map(endOf), broken: [...found, ...(await buyers.lies())] };
}

async function adjust(shop: FaultShop, call: { sku: string; delta: bigint; idempotencyKey: string }): Promise<boolean> {
  return accepted(() => shop.clients.inventory.adjustStock(call, { timeoutMs: 15_000 }));
}

/** Starts again whoever is killed, as an orchestrator does. */
function startRevival(shop: FaultShop): { count(): number; stop(): Promise<void> } {
  let count = 0;
  let isStopped = false;
  const watch = async (role: string) => {
    for (;;) {
      const ended = await Promise.race([shop.installation.processes[role]?.exited.then(() => true), delay(50)]);
      if (ended === true) {
        await shop.installation.start(role);
        count += 1;
      } else if (isStopped) return;
    }
  };
  const watching = Promise.all(killable.map(watch));
  return {
    count: () => count,
    async stop() {
      isStopped = true;
      await watching;
    },
  };
}
