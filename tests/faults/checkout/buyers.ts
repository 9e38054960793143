import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderRefundState, OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
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
  /** Refunds units of the first line, or all that is left, until that is answered. */
  refund(orderId: string, restock: boolean, units?: number): Promise<boolean>;
  get(orderId: string): Promise<Order>;
  /** Resolves with the order once nothing more happens to it by itself. */
  settled(orderId: string, withinMs?: number): Promise<Order>;
  /** What a buyer was told, and is not so (I7, I8). */
  lies(): Promise<string[]>;
  /** What of a SKU is not there, or too much, by what its buyers have (I2): of so many units. Once all is at rest. */
  miscounted(sku: string, stocked: number): Promise<string[]>;
}

export function createBuyers({ orders, inventory }: Clients): Buyers {
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
    async refund(id, restock, units) {
      const lines = units === undefined ? [] : [{ number: 1, quantity: units }];
      const wish = { id, restock, lines, idempotencyKey: randomUUID() };
      return accepted(() => orders.refundOrder(wish, { timeoutMs: ATTEMPT_MS }));
    },
    async settled(id, withinMs = CALL_MS) {
      const until = performance.now() + withinMs;
      for (;;) {
        const order = await get(id);
        const isWaiting = order.state === OrderState.PENDING || order.state === OrderState.AWAITING_PAYMENT;
        if (!(isWaiting || order.cancelRequested) || performance.now() > until) return order;
        await delay(50);
      }
    },
    async lies() {
      const found: string[] = [];
      const check = async (purchase: Purchase) => {
        const { key, first } = purchase;
        const now = await get(first.id);
        const facts = ({ userId, lines, totalAmount }: Order) =>
          JSON.stringify([userId, lines.map(({ sku, quantity }) => [sku, quantity]), String(totalAmount?.amountMinor)]);
        if (facts(now) !== facts(first)) found.push(`I7 order ${first.id} is not what was acknowledged`);
        const again = await persistently(() =>
          orders.createOrder(request({ ...purchase, waitFor: WaitFor.RECORDED }, key), { timeoutMs: ATTEMPT_MS }),
        );
        if (again.order?.id !== first.id) found.push(`I8 key ${key} is answered with another order`);
      };
      for (let at = 0; at < purchases.length; at += 16) await Promise.all(purchases.slice(at, at + 16).map(check));
      return found;
    },
    async miscounted(sku, stocked) {
      const mine = purchases.filter(({ items }) => items.some((item) => item.sku === sku));
      const kept = (await Promise.all(mine.map(({ first }) => get(first.id)))).map((order) => unitsKept(order, sku));
      const left = BigInt(stocked - kept.reduce((sum, units) => sum + units, 0));
      const { stock } = await persistently(() => inventory.batchGetStock({ skus: [sku] }, { timeoutMs: ATTEMPT_MS }));
      const { onHand, reserved } = present(stock[0]);
      const isRight = onHand === left && reserved === 0n && left >= 0n;
      const found = `${String(onHand)} on hand, ${String(reserved)} reserved; ${String(left)} should be left`;
      return isRight ? [] : [`I2 stock of ${sku}: ${found}`];
    },
  };
}

/** Units that a buyer has paid for, and not sent back. */
function unitsKept({ state, lines, refunds }: Order, sku: string): number {
  if (state !== OrderState.CONFIRMED) return 0;
  const numbers = new Set(lines.filter((line) => line.sku === sku).map(({ number }) => number));
  const back = refunds.filter((refund) => refund.restock && refund.state === OrderRefundState.SUCCEEDED);
  const unitsOf = (of: readonly { readonly number: number; readonly quantity: number }[]) =>
    of.filter(({ number }) => numbers.has(number)).reduce((sum, { quantity }) => sum + quantity, 0);
  return unitsOf(lines) - unitsOf(back.flatMap((refund) => refund.lines));
}

/** How an order ended: `REJECTED OUT_OF_STOCK`. */
export function endOf({ state, reason }: Order): string {
  const name = Object.entries(OrderState).find(([, value]) => value === state)?.[0] ?? "";
  return `${name} ${reason}`.trim();
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
