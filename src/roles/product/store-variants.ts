import type { Transaction } from "kysely";
import { sql } from "kysely";
import { productErrors } from "./errors.ts";
import type { Variant } from "./product.ts";
import type { ProductTables } from "./schema.ts";

/**
 * Puts variants on sale, in this order; one of the product's own that is there already is changed, or brought back.
 * The caller holds the lock of the product, or has just inserted it.
 * @throws AppError SKU_TAKEN with `sku` where another product has it, or it differs from one of this product in case
 */
export async function putVariants(
  trx: Transaction<ProductTables>,
  productId: string,
  variants: readonly Variant[],
): Promise<void> {
  const rows = variants.map(({ sku, options, priceMinor, attributes }, position) => ({
    sku,
    product_id: productId,
    position,
    options: JSON.stringify(options),
    price_minor: priceMinor,
    attributes: JSON.stringify(attributes),
    retired_at: null,
  }));
  // In one order everywhere: two calls that want the same SKUs queue up instead of locking each other out.
  rows.sort((a, b) => (a.sku.toLowerCase() < b.sku.toLowerCase() ? -1 : 1));
  const put = await trx
    .insertInto("variants")
    .values(rows)
    .onConflict((conflict) =>
      conflict
        .expression(sql`lower(sku)`)
        .doUpdateSet((eb) => ({
          position: eb.ref("excluded.position"),
          options: eb.ref("excluded.options"),
          price_minor: eb.ref("excluded.price_minor"),
          attributes: eb.ref("excluded.attributes"),
          retired_at: null,
        }))
        .whereRef("variants.product_id", "=", "excluded.product_id")
        .whereRef("variants.sku", "=", "excluded.sku"),
    )
    .returning("sku")
    .execute();
  const done = new Set(put.map(({ sku }) => sku));
  const taken = variants.find(({ sku }) => !done.has(sku));
  if (taken) {
    throw productErrors.SKU_TAKEN({
      message: `The SKU ${taken.sku} is or was in use.`,
      metadata: { sku: taken.sku },
    });
  }
}

/** Takes the product's variants off sale, all but the kept ones. */
export async function retireVariants(
  trx: Transaction<ProductTables>,
  productId: string,
  kept: readonly Variant[],
  now: Date,
): Promise<void> {
  await trx
    .updateTable("variants")
    .set({ retired_at: now })
    .where("product_id", "=", productId)
    .where("retired_at", "is", null)
    .where(
      "sku",
      "not in",
      kept.map(({ sku }) => sku),
    )
    .execute();
}
