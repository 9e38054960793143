import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { addStocked, brokenPromises, cancelAtOnce, checkOutAtOnce, endsOf, stockOf } from "../support/checkout.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

const BUYERS = 200;
const STOCK = 50;
const soldOut = { CONFIRMED: STOCK, "REJECTED OUT_OF_STOCK": BUYERS - STOCK };
const empty = { onHand: 0n, reserved: 0n, available: 0n };

/*
 * What the others in this field get wrong: four times as many buyers at once as there is stock. Exactly the stock is
 * sold, the others learn that it is sold out and not that something went wrong, and what is cancelled comes back. In a
 * process per role, with replicas, two locations and 10,000 buyers: npm run test:scale.
 */
describe("200 buyers for 50 units", () => {
  let shop: Installation;
  let clients: Clients;

  beforeAll(async () => {
    shop = await startInstallation("one process");
    clients = clientsOf(protocols.gRPC(shop.url));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test("get exactly what is there, and the others are told so", async () => {
    const sku = await addStocked(clients, { main: STOCK });
    const orders = await checkOutAtOnce(clients, BUYERS, [{ sku, quantity: 1 }]);
    expect(endsOf(orders)).toEqual(soldOut);
    for (const { reasonMetadata } of orders.filter(({ state }) => state === OrderState.REJECTED)) {
      expect(reasonMetadata).toEqual({ sku, requested: "1", available: "0" });
    }
    expect(await stockOf(clients, sku)).toEqual(empty);
  }, 120_000);

  test("of which half cancel: what they had comes back to the unit, and is sold again", async () => {
    const sku = await addStocked(clients, { main: STOCK });
    const orders = await checkOutAtOnce(clients, BUYERS, [{ sku, quantity: 1 }]);
    const half = orders.filter((_, index) => index % 2 === 0);
    await cancelAtOnce(
      clients,
      half.map(({ id }) => id),
    );
    const freed = half.filter(({ state }) => state === OrderState.CONFIRMED).length;
    expect(await stockOf(clients, sku)).toEqual({ onHand: BigInt(freed), reserved: 0n, available: BigInt(freed) });
    const again = await checkOutAtOnce(clients, freed + 10, [{ sku, quantity: 1 }]);
    expect(endsOf(again)).toEqual({ CONFIRMED: freed, "REJECTED OUT_OF_STOCK": 10 });
    expect(await stockOf(clients, sku)).toEqual(empty);
  }, 120_000);

  test("and no promise is broken", async () => {
    expect(await brokenPromises(shop)).toEqual([]);
  }, 60_000);
});
