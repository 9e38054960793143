import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { allInvariants, owners } from "../../src/commands/invariants/all.ts";
import { checkInvariants, openDatabases } from "../../src/commands/invariants/check.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";

const BUYERS = 200;
const STOCK = 50;

/*
 * What the others in this field get wrong: as many buyers at once as there is stock four times over. Exactly the stock is
 * sold, the others learn that it is sold out and not that something went wrong, and what is cancelled comes back.
 */
describe.each([...topologies, "three replicas of order and inventory"] as const)(
  "200 buyers for 50 units in %s",
  (kind) => {
    let shop: Installation;
    let clients: Clients;
    /** Of each replica that takes orders. */
    let doors: Clients[];

    beforeAll(async () => {
      const isReplicated = kind === "three replicas of order and inventory";
      shop = await startInstallation(isReplicated ? "a process per role" : kind);
      for (const role of isReplicated ? ["order", "order", "inventory", "inventory"] : []) await shop.another(role);
      clients = clientsOf(protocols.gRPC(shop.url));
      doors = [clients];
    });
    afterAll(() => shop[Symbol.asyncDispose]());

    async function addGoods(stock: Readonly<Record<string, number>> = { main: STOCK }): Promise<string> {
      const sku = `MUG-${randomUUID()}`;
      const price = { currencyCode: "EUR", amountMinor: 1_290n };
      await clients.products.addProduct({ title: "A mug", variants: [{ sku, price }] });
      for (const [location, units] of Object.entries(stock)) {
        await clients.inventory.adjustStock({ sku, location, delta: BigInt(units) });
      }
      return sku;
    }

    /** Everybody at once; each as soon as it is settled. */
    async function checkOut(items: readonly { readonly sku: string; readonly quantity: number }[]): Promise<Order[]> {
      const order = async (buyer: number): Promise<Order> => {
        const door = doors[buyer % doors.length] ?? clients;
        const answer = await door.orders.createOrder(
          { items: items.map((item) => ({ ...item })), waitFor: WaitFor.SETTLED, idempotencyKey: randomUUID() },
          { timeoutMs: 60_000 },
        );
        let placed = present(answer.order);
        await until(async () => {
          if (placed.state === OrderState.PENDING)
            placed = present((await door.orders.getOrder({ id: placed.id })).order);
          return placed.state !== OrderState.PENDING;
        }, 60_000);
        return placed;
      };
      return Promise.all(Array.from({ length: BUYERS }, (_, buyer) => order(buyer)));
    }

    function tally(orders: readonly Order[]): Record<string, number> {
      const counts: Record<string, number> = {};
      for (const { state, reason } of orders) {
        const name = state === OrderState.CONFIRMED ? "CONFIRMED" : `${String(state)} ${reason}`;
        counts[name] = (counts[name] ?? 0) + 1;
      }
      return counts;
    }

    async function stockOf(sku: string) {
      const { stock } = await clients.inventory.batchGetStock({ skus: [sku] });
      const { onHand, reserved, available } = present(stock[0]);
      return { onHand, reserved, available };
    }

    const soldOut = { CONFIRMED: STOCK, [`${String(OrderState.REJECTED)} OUT_OF_STOCK`]: BUYERS - STOCK };
    const empty = { onHand: 0n, reserved: 0n, available: 0n };

    test("sell exactly what is there, and tell the others so", async () => {
      const sku = await addGoods();
      const orders = await checkOut([{ sku, quantity: 1 }]);
      expect(tally(orders)).toEqual(soldOut);
      for (const { reasonMetadata } of orders.filter(({ state }) => state === OrderState.REJECTED)) {
        expect(reasonMetadata).toEqual({ sku, requested: "1", available: "0" });
      }
      expect(await stockOf(sku)).toEqual(empty);
    }, 120_000);

    test("the same with two lines of one SKU", async () => {
      const sku = await addGoods({ main: 2 * STOCK + 1 });
      const orders = await checkOut([
        { sku, quantity: 1 },
        { sku, quantity: 1 },
      ]);
      expect(tally(orders)).toEqual(soldOut);
      expect(await stockOf(sku)).toEqual({ onHand: 1n, reserved: 0n, available: 1n });
    }, 120_000);

    test("the same with stock at two locations, and orders that need both", async () => {
      await clients.inventory.createLocation({ code: "north", name: "North", priority: 1 });
      const sku = await addGoods({ main: STOCK + 25, north: STOCK + 25 });
      expect(tally(await checkOut([{ sku, quantity: 3 }]))).toEqual(soldOut);
      expect(await stockOf(sku)).toEqual(empty);
    }, 120_000);

    test("half of the buyers cancel: what they had comes back to the unit, and is sold again", async () => {
      const sku = await addGoods();
      const orders = await checkOut([{ sku, quantity: 1 }]);
      const cancelled = orders.filter((_, index) => index % 2 === 0);
      const cancels = cancelled.map(async ({ id }) => {
        const { order } = await clients.orders
          .cancelOrder({ id, waitFor: WaitFor.SETTLED }, { timeoutMs: 60_000 })
          .catch(() => clients.orders.getOrder({ id }));
        return present(order);
      });
      await Promise.all(cancels);
      await until(async () => {
        const now = await Promise.all(cancelled.map(({ id }) => clients.orders.getOrder({ id })));
        return now.every(({ order }) => !order?.cancelRequested);
      }, 60_000);
      const freed = cancelled.filter(({ state }) => state === OrderState.CONFIRMED).length;
      expect(await stockOf(sku)).toEqual({ onHand: BigInt(freed), reserved: 0n, available: BigInt(freed) });
      const again = await checkOut([{ sku, quantity: 1 }]);
      expect(tally(again)["CONFIRMED"]).toBe(freed);
      expect(await stockOf(sku)).toEqual(empty);
    }, 120_000);

    test("and no promise is broken", async () => {
      const urls = Object.fromEntries(owners.map((role) => [role, shop.databases[role]?.url ?? ""]));
      await using databases = await openDatabases(urls);
      let broken: string[] = [];
      const check = async () => {
        broken = [];
        for await (const { invariant, violations } of checkInvariants(databases, allInvariants(0))) {
          broken.push(...violations.map(({ about, problem }) => `${invariant} ${about}: ${problem}`));
        }
        return broken.length === 0;
      };
      await until(check, 30_000).catch(() => undefined);
      expect(broken).toEqual([]);
    }, 60_000);
  },
);
