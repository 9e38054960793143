import { afterAll, beforeAll, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { markedFailpoints } from "../../support/failpoints.ts";
import { printTable, rounds } from "../report.ts";
import type { Buyers } from "./buyers.ts";
import { createBuyers } from "./buyers.ts";
import type { FaultShop } from "./shop.ts";
import { startFaultShop } from "./shop.ts";

/*
 * kill -9 of the process of order, inventory or payment at every point of the saga that the sources mark, while others
 * buy; it is started again, and then every promise holds, within 30 seconds, and each buyer has what they were told.
 */

const startedAt = performance.now();
const every = [...markedFailpoints().values()].flat();
/** All of them from the twentieth round on; a slice takes some of each role. */
const points = rounds >= 20 ? every : every.filter((_, index) => index % Math.ceil(20 / rounds) === 0);
/** Units that there are of what is bought at each of them. */
const STOCKED = 10;
const recoveries: number[] = [];
let violations = 0;

let shop: FaultShop;
let buyers: Buyers;
beforeAll(async () => {
  shop = await startFaultShop();
  buyers = createBuyers(shop.clients);
});
afterAll(async () => {
  await shop[Symbol.asyncDispose]();
  const sorted = recoveries.toSorted((a, b) => a - b);
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) / 1_000;
  printTable("kill -9 at each point of the saga", startedAt, [
    ["points", "runs", "violations", "recovery p50", "p99"],
    [
      String(every.length),
      String(recoveries.length),
      String(violations),
      `${at(0.5).toFixed(1)} s`,
      `${at(0.99).toFixed(1)} s`,
    ],
  ]);
});

/** Has somebody do what leads to a point. */
async function leadTo(point: string, sku: string): Promise<unknown> {
  const items = [{ sku, quantity: 1 }];
  switch (point.split(".")[1]) {
    case "void":
      return buyers.buy({ items, token: "tok_capture_refused" });
    case "release":
      return buyers.buy({ items, token: "tok_declined" });
    case "settle":
      return buyers.cancel(await buyConfirmed(sku));
    case "refund":
    case "return":
      // One unit of two comes back: whatever is done twice shows.
      return buyers.refund(await buyConfirmed(sku), true, 1);
    default:
      return buyers.buy({ items });
  }
}

/** Buys two units, and waits until they are paid for; answers the order's id. */
async function buyConfirmed(sku: string): Promise<string> {
  const { first } = await buyers.buy({ items: [{ sku, quantity: 2 }] });
  const { state, reason } = await buyers.settled(first.id);
  if (state !== OrderState.CONFIRMED) throw new Error(`order ${first.id} is not confirmed: ${reason}`);
  return first.id;
}

test.each(points)("kill -9 at %s", async (point) => {
  const { installation, failpoints } = shop;
  const role = point.slice(0, point.indexOf("."));
  const sku = await shop.addGoods(STOCKED);
  const others = [1, 2, 3].map(() => buyers.buy({ items: [{ sku, quantity: 1 }] }));
  await failpoints.arm(point, "kill");
  const led = leadTo(point, sku);
  const reached = await Promise.race([failpoints.reached(point), led.then(() => failpoints.reached(point))]);
  const killed = installation.processes[role];
  expect([killed?.pid, await killed?.exited]).toEqual([reached, "SIGKILL"]);
  const killedAt = performance.now();
  await installation.start(role);
  await Promise.all([led, ...others]);
  const { broken } = await shop.rest();
  recoveries.push(performance.now() - killedAt);
  const found = broken.length > 0 ? broken : await buyers.miscounted(sku, STOCKED);
  violations += found.length;
  expect(found, found.join("\n")).toEqual([]);
});

test("every point was passed, and every buyer has what they were told", async () => {
  const passed = await shop.failpoints.passed();
  expect(points.filter((point) => !passed.has(point))).toEqual([]);
  const lies = await buyers.lies();
  expect(lies, lies.join("\n")).toEqual([]);
});
