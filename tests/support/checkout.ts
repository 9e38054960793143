import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { allInvariants, owners } from "../../src/commands/invariants/all.ts";
import { checkInvariants, openDatabases } from "../../src/commands/invariants/check.ts";
import { until } from "./conditions.ts";
import type { Installation } from "./installation.ts";
import type { Clients } from "./protocols.ts";
import { present } from "./role.ts";

type Items = readonly { readonly sku: string; readonly quantity: number }[];

/** Adds a product with one SKU and stock by location; answers the SKU. */
export async function addStocked(
  { products, inventory }: Clients,
  stock: Readonly<Record<string, number>>,
): Promise<string> {
  const sku = `MUG-${randomUUID()}`;
  const price = { currencyCode: "EUR", amountMinor: 1_290n };
  await products.addProduct({ title: "A mug", variants: [{ sku, price }] });
  for (const [location, units] of Object.entries(stock)) {
    await inventory.adjustStock({ sku, location, delta: BigInt(units) });
  }
  return sku;
}

/** Buyers who all order at once; each order as it is settled. One who is told to come back does, with the same key. */
export function checkOutAtOnce({ orders }: Clients, buyers: number, items: Items): Promise<Order[]> {
  const buy = async (): Promise<Order> => {
    const request = {
      items: items.map((item) => ({ ...item })),
      waitFor: WaitFor.SETTLED,
      idempotencyKey: randomUUID(),
    };
    for (;;) {
      try {
        const { order } = await orders.createOrder(request, { timeoutMs: 20_000 });
        if (order?.state !== OrderState.PENDING) return present(order);
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (code !== Code.Unavailable && code !== Code.DeadlineExceeded) throw error;
      }
      await delay(100);
    }
  };
  return Promise.all(Array.from({ length: buyers }, buy));
}

/** How orders ended: `CONFIRMED`, `REJECTED OUT_OF_STOCK`, with how many of each. */
export function endsOf(orders: readonly Order[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state, reason } of orders) {
    const name = Object.entries(OrderState).find(([, value]) => value === state)?.[0] ?? "";
    const end = `${name} ${reason}`.trim();
    counts[end] = (counts[end] ?? 0) + 1;
  }
  return counts;
}

/** What is on hand, reserved and available of a SKU. */
export async function stockOf({ inventory }: Clients, sku: string): Promise<Record<string, bigint>> {
  const { stock } = await inventory.batchGetStock({ skus: [sku] });
  const { onHand, reserved, available } = present(stock[0]);
  return { onHand, reserved, available };
}

/** Cancels orders at once; resolves when each is cancelled, or cannot be. */
export async function cancelAtOnce({ orders }: Clients, ids: readonly string[]): Promise<void> {
  await Promise.all(
    ids.map(async (id) => {
      await orders.cancelOrder({ id, waitFor: WaitFor.SETTLED }, { timeoutMs: 20_000 }).catch((error: unknown) => {
        // Rejected ones cannot be cancelled; one that takes long is waited for below.
        const { code } = ConnectError.from(error);
        if (code !== Code.FailedPrecondition && code !== Code.DeadlineExceeded) throw error;
      });
      await until(async () => !(await orders.getOrder({ id })).order?.cancelRequested, 60_000);
    }),
  );
}

/** The rows that break a promise once the shop is at rest, at most half a minute later. */
export async function brokenPromises({ databases }: Pick<Installation, "databases">): Promise<string[]> {
  await using opened = await openDatabases(
    Object.fromEntries(owners.map((role) => [role, databases[role]?.url ?? ""])),
  );
  let broken: string[] = [];
  const hold = async () => {
    broken = [];
    for await (const { invariant, violations } of checkInvariants(opened, allInvariants(0))) {
      broken.push(...violations.map(({ about, problem }) => `${invariant} ${about}: ${problem}`));
    }
    return broken.length === 0;
  };
  await until(hold, 30_000).catch(() => undefined);
  return broken;
}
