import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import type { Clients } from "../../support/protocols.ts";
import { present } from "../../support/role.ts";

/** Milliseconds for one attempt, and for all of one call. */
const ATTEMPT_MS = 15_000;
const CALL_MS = 90_000;

/** What somebody buys. */
export interface Basket {
  readonly items: readonly { readonly sku: string; readonly quantity: number }[];
  /** A test token of the sandbox. */
  readonly token?: string;
  readonly waitFor?: WaitFor;
}

/** A purchase as its buyer saw it. */
export interface Purchase extends Basket {
  readonly key: string;
  /** The order as it was first answered. */
  readonly first: Order;
}

/** Buyers who try again with the same key until they are answered, and remember what they were told. */
export interface Buyers {
  readonly purchases: readonly Purchase[];
  buy(basket: Basket): Promise<Purchase>;
  /** Asks to cancel until that is answered; answers whether it was accepted. */
  cancel(orderId: string): Promise<boolean>;
  /** Refunds all that is left, until that is answered. */
  refund(orderId: string, restock: boolean): Promise<boolean>;
  get(orderId: string): Promise<Order>;
  /** Resolves with the order once nothing more happens to it by itself. */
  settled(orderId: string, withinMs?: number): Promise<Order>;
  /** What a buyer was told, and is not so (I7, I8). */
  lies(): Promise<string[]>;
}

export function createBuyers({ orders }: Clients): Buyers {
  const purchases: Purchase[] = [];

  async function get(id: string): Promise<Order> {
    return present((await persistently(() => orders.getOrder({ id }, { timeoutMs: ATTEMPT_MS }))).order);
  }

  const request = ({ items, token = "", waitFor = WaitFor.RECORDED }: Basket, idempotencyKey: string) => ({
    items: items.map((item) => ({ ...item })),
    paymentMethodToken: token,
    waitFor,
    idempotencyKey,
  });

  return {
    purchases,
    get,
    async buy(basket) {
      const key = randomUUID();
      const call = () => orders.createOrder(request(basket, key), { timeoutMs: ATTEMPT_MS });
      const purchase = { ...basket, key, first: present((await persistently(call)).order) };
      purchases.push(purchase);
      return purchase;
    },
    async cancel(id) {
      const idempotencyKey = randomUUID();
      return accepted(() => orders.cancelOrder({ id, idempotencyKey }, { timeoutMs: ATTEMPT_MS }));
    },
    async refund(id, restock) {
      const idempotencyKey = randomUUID();
      return accepted(() => orders.refundOrder({ id, restock, idempotencyKey }, { timeoutMs: ATTEMPT_MS }));
    },
    async settled(id, withinMs = CALL_MS) {
      const until = performance.now() + withinMs;
      for (;;) {
        const order = await get(id);
        const isOpen = order.state === OrderState.PENDING || order.cancelRequested;
        if (!isOpen || performance.now() > until) return order;
        await delay(50);
      }
    },
    async lies() {
      const found: string[] = [];
      for (const purchase of purchases) {
        const { key, first } = purchase;
        const now = await get(first.id);
        const facts = ({ userId, lines, totalAmount }: Order) =>
          JSON.stringify([userId, lines.map(({ sku, quantity }) => [sku, quantity]), String(totalAmount?.amountMinor)]);
        if (facts(now) !== facts(first)) found.push(`I7 order ${first.id} is not what was acknowledged`);
        const again = await persistently(() =>
          orders.createOrder(request({ ...purchase, waitFor: WaitFor.RECORDED }, key), { timeoutMs: ATTEMPT_MS }),
        );
        if (again.order?.id !== first.id) found.push(`I8 key ${key} is answered with another order`);
      }
      return found;
    },
  };
}

/** Whether a call is carried out in the end, or refused for good. */
export async function accepted(call: () => Promise<unknown>): Promise<boolean> {
  try {
    await persistently(call);
    return true;
  } catch (error) {
    const code = ConnectError.from(error).code;
    if (code === Code.FailedPrecondition || code === Code.OutOfRange) return false;
    throw error;
  }
}

/** Calls until it is answered: what may pass is tried again, as clients do. */
export async function persistently<T>(call: () => Promise<T>): Promise<T> {
  const until = performance.now() + CALL_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const { code } = ConnectError.from(error);
      const mayPass = [Code.Unavailable, Code.DeadlineExceeded, Code.Aborted, Code.Unknown, Code.Internal].includes(
        code,
      );
      if (!mayPass || performance.now() > until) throw error;
      await delay(50);
    }
  }
}
