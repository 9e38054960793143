import { randomInt } from "node:crypto";
import type { JobSpec } from "../load/jobs.ts";
import type { Shop } from "./shop.ts";

/** Bodies that the load generator sends in turns. */
const BODIES = 500;
/** Users who order in turns. */
const BUYERS = 16;

/** Connections of a role to its database, DATABASE_POOL_SIZE: what bare SQL gets too. */
export const POOL_SIZE = 10;

const ORDERS = "commerce.order.v1.OrderService";
const PRODUCTS = "commerce.product.v1.ProductService";

/** CreateOrder of as many different SKUs as an order has lines. */
export async function createOrder(
  shop: Shop,
  skus: readonly string[],
  lines: number,
  isSettled: boolean,
): Promise<JobSpec> {
  const order = () => {
    const first = randomInt(skus.length);
    const items = Array.from({ length: lines }, (_, line) => ({
      sku: skus[(first + line) % skus.length],
      quantity: 1,
    }));
    const wait = isSettled ? { waitFor: "WAIT_FOR_SETTLED" } : {};
    return JSON.stringify({ items, ...wait, idempotencyKey: "{uuid}" });
  };
  return {
    job: "unary",
    options: {
      url: `${shop.url}/${ORDERS}/CreateOrder`,
      headers: {},
      bodies: Array.from({ length: BODIES }, order),
      authorizations: await shop.buyers(BUYERS),
      expect: isSettled ? '"ORDER_STATE_CONFIRMED"' : '"order":',
    },
  };
}

/** GetProduct of one product after another, at the gateway or at the address of the role itself. */
export async function getProduct(
  shop: Shop,
  url = shop.url,
  headers: Readonly<Record<string, string>> = {},
): Promise<JobSpec> {
  const rows = await shop.query<{ id: string }>("product", "select id from products order by random() limit $1", [
    BODIES,
  ]);
  const bodies = rows.map(({ id }) => JSON.stringify({ id }));
  return { job: "unary", options: { url: `${url}/${PRODUCTS}/GetProduct`, headers, bodies, expect: '"product":' } };
}

/** QueryProducts of the first page of 20. */
export function queryProducts(shop: Shop): JobSpec {
  const url = `${shop.url}/${PRODUCTS}/QueryProducts`;
  return { job: "unary", options: { url, headers: {}, bodies: ['{"pageSize":20}'], expect: '"products":' } };
}

/** ReserveStock of one unit of one SKU, at the inventory role itself: it is no RPC for outsiders. */
export async function reserveStock(shop: Shop, sku: string): Promise<JobSpec> {
  return {
    job: "unary",
    options: {
      url: `${shop.direct("inventory")}/commerce.inventory.v1.InventoryService/ReserveStock`,
      headers: await shop.assertion("order", "inventory"),
      bodies: [JSON.stringify({ orderId: "{uuid}", lines: [{ sku, quantity: 1 }], holdSeconds: 2_100 })],
      expect: '"reservation":',
    },
  };
}

/** The answer of a call, as it came. @throws Error where it is refused */
export async function answerOf(spec: JobSpec): Promise<string> {
  if (spec.job !== "unary") throw new TypeError(`${spec.job} has no one answer`);
  const { url, headers, bodies } = spec.options;
  const response = await fetch(url, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: bodies[0] ?? "",
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${text}`);
  return text;
}
