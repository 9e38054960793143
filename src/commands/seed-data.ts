import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AdjustStockRequestSchema } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import type { CreateOrderRequestSchema } from "#gen/commerce/order/v1/order_pb.ts";
import type { AddProductRequestSchema } from "#gen/commerce/product/v1/product_pb.ts";
import type { CreateUserRequestSchema } from "#gen/commerce/user/v1/user_pb.ts";

const materials = ["Oak", "Linen", "Steel", "Wool", "Glass", "Cork", "Bamboo", "Leather", "Ceramic", "Cotton"];
const styles = ["Plain", "Striped", "Small", "Large", "Round", "Folding", "Nordic", "Garden", "Travel", "Evening"];
const things = ["Lamp", "Chair", "Bowl", "Blanket", "Basket", "Mirror", "Tray", "Vase", "Clock", "Shelf", "Cushion"];
const names = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Ken", "Frances", "Tim"];
const sizes = ["S", "M", "L"];

/** The n-th product, from 1: always the same. Every third has three variants. */
export function seedProduct(n: number): MessageInitShape<typeof AddProductRequestSchema> {
  const title = `${pick(styles, n)} ${pick(materials, n / styles.length)} ${pick(things, n / 7)}`;
  const price = (extra: number) => ({ currencyCode: "EUR", amountMinor: BigInt(490 + ((n * 37) % 9500) + extra) });
  const variants =
    n % 3 === 0
      ? sizes.map((size, index) => ({ sku: `${skuOf(n)}-${size}`, options: { size }, price: price(index * 200) }))
      : [{ sku: skuOf(n), price: price(0) }];
  return {
    title,
    description: `${title}, number ${String(n)} of the seeded catalogue.`,
    variants,
    attributes: { material: pick(materials, n / styles.length).toLowerCase() },
    idempotencyKey: `seed-product-${String(n)}`,
  };
}

/** Units of each seeded variant. */
const STOCK = 1_000n;

/** The opening stock of the variants of the n-th product. */
export function seedStock(n: number): MessageInitShape<typeof AdjustStockRequestSchema>[] {
  const skus = (seedProduct(n).variants ?? []).map(({ sku = "" }) => sku);
  return skus.map((sku) => ({
    sku,
    delta: STOCK,
    expectedOnHand: 0n,
    reason: "opening stock",
    idempotencyKey: `seed-stock-${sku}`,
  }));
}

/** The n-th user, from 1: always the same. */
export function seedUser(n: number): MessageInitShape<typeof CreateUserRequestSchema> {
  const name = pick(names, n);
  return {
    email: `${name.toLowerCase()}.${String(n)}@seed.example.com`,
    displayName: name,
    idempotencyKey: `seed-user-${String(n)}`,
  };
}

/** The n-th order, from 1, of the seeded users and of the first products that come in one variant. */
export function seedOrder(
  n: number,
  userIds: readonly string[],
  products: number,
): MessageInitShape<typeof CreateOrderRequestSchema> {
  const plain = Math.max(1, products - (products % 3));
  const product = (at: number) => {
    const number = (at % plain) + 1;
    return number % 3 === 0 ? Math.max(1, number - 1) : number;
  };
  return {
    userId: pick(userIds, n),
    items: [
      { sku: skuOf(product(n * 7)), quantity: (n % 3) + 1 },
      { sku: skuOf(product(n * 11 + 4)), quantity: 1 },
    ],
    idempotencyKey: `seed-order-${String(n)}`,
  };
}

function skuOf(n: number): string {
  return `SEED-${String(n).padStart(7, "0")}`;
}

function pick(words: readonly string[], n: number): string {
  return words[Math.floor(n) % words.length] ?? "";
}
