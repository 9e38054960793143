import { afterAll, expect, test } from "vitest";
import fc from "fast-check";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { markedFailpoints } from "../../support/failpoints.ts";
import { present } from "../../support/role.ts";
import { printTable, rounds, tally } from "../report.ts";
import { accepted, createBuyers } from "./buyers.ts";
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
  "tok_webhook_twice",
  "tok_webhook_early",
  "tok_webhook_never",
];
const killable = ["order", "inventory", "payment"];
const points = [...markedFailpoints().values()].flat();

type Act =
  | { readonly kind: "buy"; readonly token: string; readonly quantity: number; readonly lines: number }
  | { readonly kind: "cancel" | "refund" | "restock"; readonly which: number }
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
      kind: fc.constantFrom("cancel" as const, "refund" as const, "restock" as const),
      which: fc.nat(30),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("adjust" as const), delta: fc.integer({ min: -5, max: 10 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("kill" as const), role: fc.constantFrom(...killable) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("kill at" as const), point: fc.constantFrom(...points) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("settle" as const), which: fc.nat(30) }) },
);

const table: string[][] = [["histories", "acts", "kills", "orders", "violations"]];
afterAll(() => {
  printTable(`Random histories, seed ${String(seed)}`, startedAt, table);
});

test("whatever happens in whichever order, every promise holds afterwards", async () => {
  await using shop = await startFaultShop({ replicas: ["order"] });
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
    expect(history.broken, `FAULT_SEED=${String(seed)}`).toEqual([]);
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
  let kills = 0;
  const work: Promise<unknown>[] = [];
  const armed = new Set<string>();
  const pick = (which: number) => buyers.purchases[which % Math.max(1, buyers.purchases.length)]?.first.id;

  for (const each of list) {
    switch (each.kind) {
      case "buy": {
        const items = Array.from({ length: each.lines }, () => ({ sku, quantity: each.quantity }));
        work.push(buyers.buy({ items, token: each.token }));
        break;
      }
      case "cancel": {
        const id = pick(each.which);
        if (id !== undefined) work.push(buyers.cancel(id));
        break;
      }
      case "refund":
      case "restock": {
        const id = pick(each.which);
        if (id !== undefined) work.push(buyers.refund(id, each.kind === "restock"));
        break;
      }
      case "adjust": {
        const call = { sku, delta: BigInt(each.delta), idempotencyKey: `${sku} ${String(work.length)}` };
        if (each.delta !== 0) work.push(adjust(shop, call).then((done) => (adjusted += done ? each.delta : 0)));
        break;
      }
      case "settle": {
        const id = pick(each.which);
        if (id !== undefined) await buyers.settled(id, 3_000);
        break;
      }
      case "kill":
        await restart(shop, each.role);
        kills += 1;
        break;
      case "kill at":
        await shop.failpoints.arm(each.point, "kill");
        armed.add(each.point);
        break;
    }
    kills += await reviveDead(shop);
  }
  for (const point of armed) await shop.failpoints.disarm(point);
  const watch = setInterval(() => void reviveDead(shop).then((count) => (kills += count)), 200);
  try {
    await Promise.all(work);
  } finally {
    clearInterval(watch);
  }
  kills += await reviveDead(shop);
  const { broken } = await shop.rest();
  const orders = await Promise.all(buyers.purchases.map(({ first }) => buyers.settled(first.id)));
  const found = [...broken, ...(await buyers.lies()), ...(await miscounted(shop, sku, opening + adjusted, orders))];
  return { kills, ends: orders.map(ended), broken: found };
}

async function adjust(shop: FaultShop, call: { sku: string; delta: bigint; idempotencyKey: string }): Promise<boolean> {
  return accepted(() => shop.clients.inventory.adjustStock(call, { timeoutMs: 15_000 }));
}

/** The stock that is left, against what the buyers have. */
async function miscounted(shop: FaultShop, sku: string, stocked: number, orders: readonly Order[]): Promise<string[]> {
  const { stock } = await shop.clients.inventory.batchGetStock({ skus: [sku] });
  const { onHand, reserved } = present(stock[0]);
  const kept = orders.filter(({ state }) => state === OrderState.CONFIRMED).map((order) => unitsKept(order));
  const left = BigInt(stocked) - kept.reduce((sum, units) => sum + units, 0n);
  const isRight = onHand === left && reserved === 0n && left >= 0n;
  return isRight
    ? []
    : [`stock of ${sku}: ${String(onHand)} on hand, ${String(reserved)} reserved; ${String(left)} should be left`];
}

function unitsKept({ lines, refunds }: Order): bigint {
  const units = lines.reduce((sum, { quantity }) => sum + quantity, 0);
  // Here only all units of an order come back, or none.
  return refunds.some(({ restock, state }) => restock && state === 2) ? 0n : BigInt(units);
}

const ended = (order: Order) =>
  `${Object.entries(OrderState).find(([, value]) => value === order.state)?.[0] ?? ""} ${order.reason}`.trim();

async function restart(shop: FaultShop, role: string): Promise<void> {
  shop.installation.processes[role]?.kill("SIGKILL");
  await shop.installation.processes[role]?.exited;
  await shop.installation.start(role);
}

let reviving: Promise<number> | undefined;

/** Starts again who was killed at a point; answers how many that were. */
function reviveDead(shop: FaultShop): Promise<number> {
  reviving ??= (async () => {
    let count = 0;
    for (const role of killable) {
      const ended = await Promise.race([shop.installation.processes[role]?.exited, Promise.resolve(undefined)]);
      if (ended === undefined) continue;
      await shop.installation.start(role);
      count += 1;
    }
    return count;
  })().finally(() => (reviving = undefined));
  return reviving;
}
