import type { Transaction } from "kysely";
import { versionMismatch } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import type { CatalogueAnnouncements } from "./events.ts";
import type { PricedVariants, ProductFields, ProductState } from "./product.ts";
import type { ProductTables } from "./schema.ts";
import type { ProductRow } from "./store.ts";
import { getProduct, insertProduct, lockProduct, updateProductFields, updateProductState } from "./store.ts";
import { putVariants, retireVariants } from "./store-variants.ts";

/** @throws AppError SKU_TAKEN, CATEGORY_UNKNOWN */
export async function addProduct(
  trx: Transaction<ProductTables>,
  fields: ProductFields,
  variants: PricedVariants,
  now: Date,
  announce: CatalogueAnnouncements,
): Promise<ProductRow> {
  const id = newId();
  await insertProduct(trx, id, fields, variants, now);
  await putVariants(trx, id, variants.variants);
  return announced(trx, "added", id, announce);
}

/**
 * Changes the fields that are present, and all variants where those are; with none it answers the product as it is.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, SKU_TAKEN, CATEGORY_UNKNOWN
 */
export async function changeProduct(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  change: Partial<ProductFields>,
  variants: PricedVariants | undefined,
  now: Date,
  announce: CatalogueAnnouncements,
): Promise<ProductRow> {
  await lockProduct(trx, id);
  const product = await getProduct(trx, id);
  if (variants === undefined && Object.keys(change).length === 0) {
    if (expectedVersion !== 0 && expectedVersion !== product.version) throw versionMismatch(product.version);
    return product;
  }
  const next = variants ?? variantsOf(product);
  await updateProductFields(trx, id, expectedVersion, { ...fieldsOf(product), ...change }, next, now);
  if (variants) {
    await retireVariants(trx, id, variants.variants, now);
    await putVariants(trx, id, variants.variants);
  }
  return announced(trx, "updated", id, announce);
}

/**
 * Puts a product on or off sale. One that is so already stays as it is, whatever version is expected: a repeated call
 * carries the version of before the first.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH
 */
export async function changeProductState(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  state: ProductState,
  now: Date,
  announce: CatalogueAnnouncements,
): Promise<ProductRow> {
  const locked = await lockProduct(trx, id);
  if (locked.state === state) return getProduct(trx, id);
  await updateProductState(trx, id, expectedVersion, state, now);
  return announced(trx, state === "archived" ? "archived" : "unarchived", id, announce);
}

/** The product as it is after a change, told to others. */
async function announced(
  trx: Transaction<ProductTables>,
  what: Parameters<CatalogueAnnouncements["product"]>[1],
  id: string,
  announce: CatalogueAnnouncements,
): Promise<ProductRow> {
  const product = await getProduct(trx, id);
  await announce.product(trx, what, product);
  return product;
}

function fieldsOf(product: ProductRow): ProductFields {
  return {
    title: product.title,
    description: product.description,
    categoryId: product.category_id,
    taxCategory: product.tax_category,
    attributes: product.attributes,
    imageUrls: product.image_urls,
  };
}

function variantsOf(product: ProductRow): PricedVariants {
  return {
    currency: product.currency_code,
    variants: product.variants.map(({ price_minor, ...variant }) => ({ ...variant, priceMinor: BigInt(price_minor) })),
  };
}
