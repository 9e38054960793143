import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addStocked, brokenPromises, cancelAtOnce, checkOutAtOnce, endsOf, stockOf } from "../support/checkout.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

const BUYERS = 200;
const STOCK = 50;
const soldOut = { CONFIRMED: STOCK, "REJECTED OUT_OF_STOCK": BUYERS - STOCK };
const empty = { onHand: 0n, reserved: 0n, available: 0n };

describe.each([
  { kind: "a process per role", more: [] },
  { kind: "three replicas of order and inventory", more: ["order", "order", "inventory", "inventory"] },
])("200 buyers for 50 units in $kind", ({ more }) => {
  let shop: Installation;
  let clients: Clients;
  beforeAll(async () => {
    shop = await startInstallation("a process per role");
    for (const role of more) await shop.another(role);
    clients = clientsOf(protocols.gRPC(shop.url));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  const timed = async (buyers: number, items: Parameters<typeof checkOutAtOnce>[2]) => {
    const startedAt = performance.now();
    const orders = await checkOutAtOnce(clients, buyers, items);
    console.info(`${String(buyers)} checkouts in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
    return orders;
  };

  test("one line", async () => {
    const sku = await addStocked(clients, { main: STOCK });
    expect(endsOf(await timed(BUYERS, [{ sku, quantity: 1 }]))).toEqual(soldOut);
    expect(await stockOf(clients, sku)).toEqual(empty);
  });

  test("two lines of one SKU", async () => {
    const sku = await addStocked(clients, { main: 2 * STOCK + 1 });
    const line = { sku, quantity: 1 };
    expect(endsOf(await timed(BUYERS, [line, line]))).toEqual(soldOut);
    expect(await stockOf(clients, sku)).toEqual({ onHand: 1n, reserved: 0n, available: 1n });
  });

  test("stock at two locations, and orders that need both", async () => {
    await clients.inventory.createLocation({ code: "north", name: "North", priority: 1 });
    const sku = await addStocked(clients, { main: STOCK + 25, north: 2 * STOCK - 25 });
    expect(endsOf(await timed(BUYERS, [{ sku, quantity: 3 }]))).toEqual(soldOut);
    expect(await stockOf(clients, sku)).toEqual(empty);
  });

  test("half of the buyers cancel, and what comes back is sold again", async () => {
    const sku = await addStocked(clients, { main: STOCK });
    const orders = await timed(BUYERS, [{ sku, quantity: 1 }]);
    const half = orders.filter((_, index) => index % 2 === 0);
    const freed = endsOf(half)["CONFIRMED"] ?? 0;
    await cancelAtOnce(
      clients,
      half.map(({ id }) => id),
    );
    expect(await stockOf(clients, sku)).toEqual({ onHand: BigInt(freed), reserved: 0n, available: BigInt(freed) });
    expect(endsOf(await timed(BUYERS, [{ sku, quantity: 1 }]))["CONFIRMED"]).toBe(freed);
  });

  test("no promise is broken", async () => {
    expect(await brokenPromises(shop)).toEqual([]);
  });
});

test("10,000 buyers for 100 units", async () => {
  await using shop = await startInstallation("one process");
  const clients = clientsOf(protocols.gRPC(shop.url));
  const sku = await addStocked(clients, { main: 100 });
  const startedAt = performance.now();
  const ends: Record<string, number> = {};
  // As many at once as one connection carries; the others are at the door.
  for (let wave = 0; wave < 100; wave += 1) {
    const orders = await checkOutAtOnce(clients, 100, [{ sku, quantity: 1 }]);
    for (const [end, count] of Object.entries(endsOf(orders))) ends[end] = (ends[end] ?? 0) + count;
  }
  console.info(`10,000 checkouts in ${((performance.now() - startedAt) / 1_000).toFixed(0)} s`);
  expect(ends).toEqual({ CONFIRMED: 100, "REJECTED OUT_OF_STOCK": 9_900 });
  expect(await stockOf(clients, sku)).toEqual(empty);
  expect(await brokenPromises(shop)).toEqual([]);
});
