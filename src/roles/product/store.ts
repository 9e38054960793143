import type { Kysely, RawBuilder, Transaction } from "kysely";
import { sql } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import { cancelledBy, onConstraint } from "../../platform/database.ts";
import { notFound, versionMismatch } from "../../platform/errors.ts";
import { productErrors } from "./errors.ts";
import type { PricedVariants, ProductFields, ProductState } from "./product.ts";
import { derivedColumns } from "./product.ts";
import type { ProductTables } from "./schema.ts";

const unknownCategory = { products_category_id_fkey: (cause: unknown) => productErrors.CATEGORY_UNKNOWN({ cause }) };

/** Products with their variants on sale, in order. Prices as text: JSON numbers would round them. */
function selectProducts(db: Kysely<ProductTables>) {
  return db.selectFrom("products as p").select((eb) => [
    "p.id",
    "p.title",
    "p.description",
    "p.state",
    "p.category_id",
    "p.tax_category",
    "p.attributes",
    "p.image_urls",
    "p.currency_code",
    "p.version",
    "p.created_at",
    "p.updated_at",
    jsonArrayFrom(
      eb
        .selectFrom("variants as v")
        .select(["v.sku", "v.options", "v.attributes", sql<string>`v.price_minor::text`.as("price_minor")])
        .whereRef("v.product_id", "=", "p.id")
        .where("v.retired_at", "is", null)
        .orderBy("v.position"),
    ).as("variants"),
  ]);
}

export type ProductRow = Awaited<ReturnType<ReturnType<typeof selectProducts>["executeTakeFirstOrThrow"]>>;

/** @throws AppError NOT_FOUND */
export async function getProduct(db: Kysely<ProductTables>, id: string): Promise<ProductRow> {
  const product = await selectProducts(db).where("p.id", "=", id).executeTakeFirst();
  if (!product) throw notFound("product", id);
  return product;
}

/** The product that has this very SKU on sale. @throws AppError NOT_FOUND */
export async function getProductBySku(
  db: Kysely<ProductTables>,
  sku: string,
  signal: AbortSignal,
): Promise<ProductRow> {
  const [product] = await findProducts(db, [], [sku], signal);
  if (!product) throw notFound("product", sku);
  return product;
}

/** Those that have one of the ids, or one of the SKUs on sale; each once, in no order. */
export function findProducts(
  db: Kysely<ProductTables>,
  ids: readonly string[],
  skus: readonly string[],
  signal: AbortSignal,
): Promise<ProductRow[]> {
  return selectProducts(db)
    .where(
      sql<boolean>`p.id in (
        select unnest(${ids}::uuid[])
        union
        select product_id from variants
        where lower(sku) = any (${skus.map((sku) => sku.toLowerCase())}::text[]) and sku = any (${skus}::text[])
          and retired_at is null
      )`,
    )
    .execute(cancelledBy(signal));
}

function isInCategory(id: string): RawBuilder<boolean> {
  return sql`p.category_id in (
    with recursive below as (
      select id from categories where id = ${id}
      union
      select c.id from categories c join below on c.parent_id = below.id
    )
    select id from below
  )`;
}

export interface ProductFilter {
  readonly categoryId: string | undefined;
  readonly includeArchived: boolean;
  readonly updatedSince: Date | undefined;
}

/**
 * In the order of ids, those after one. Of 100,000 products with three variants each, 500 take the server 3 ms, wherever
 * they begin; with an offset the page would read all before it.
 */
export function listProducts(
  db: Kysely<ProductTables>,
  { categoryId, includeArchived, updatedSince }: ProductFilter,
  after: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<ProductRow[]> {
  let query = selectProducts(db).orderBy("p.id").limit(limit);
  if (after !== undefined) query = query.where("p.id", ">", after);
  if (!includeArchived) query = query.where("p.state", "=", "active");
  if (updatedSince) query = query.where("p.updated_at", ">=", updatedSince);
  if (categoryId !== undefined) query = query.where(isInCategory(categoryId));
  return query.execute(cancelledBy(signal));
}

export interface ProductQuery {
  /** A tsquery. */
  readonly search: string | undefined;
  readonly categoryId: string | undefined;
  readonly currency: string | undefined;
  readonly leastMinor: bigint | undefined;
  readonly mostMinor: bigint | undefined;
  readonly order: "rank" | "newest" | "title" | "cheapest" | "dearest";
}

/** What a page is sorted by before the id, with the type that its text form in a cursor is read as. */
function sortBy({ order, search }: ProductQuery) {
  switch (order) {
    case "rank":
      // Rounded to a numeric: a float4 that went through text need not be equal to itself.
      return {
        key: sql`round(ts_rank(p.search, ${search ?? ""}::tsquery)::numeric, 6)`,
        type: sql`numeric`,
        down: true,
      };
    case "newest":
      return undefined;
    case "title":
      return { key: sql`p.title_key`, type: sql`text`, down: false };
    case "cheapest":
      return { key: sql`p.lowest_price_minor`, type: sql`bigint`, down: false };
    case "dearest":
      return { key: sql`p.lowest_price_minor`, type: sql`bigint`, down: true };
  }
}

/**
 * Active products, those after the position; `sort_value` and `id` of a row are its position. Of 100,000 products a page
 * of 50 takes the server 0.5 ms in the orders that have an index; ranking reads every match: 1,000 take 7 ms, 90,000
 * take 150 ms.
 */
export function queryProducts(
  db: Kysely<ProductTables>,
  query: ProductQuery,
  after: readonly [sortValue: string, id: string] | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<(ProductRow & { readonly sort_value: string })[]> {
  const sort = sortBy(query);
  const direction = sort?.down === false ? "asc" : "desc";
  const key = sort ? sort.key : sql`p.id`;
  let select = selectProducts(db)
    .select(sql<string>`(${key})::text`.as("sort_value"))
    // Literal, so that the partial indexes fit under any plan.
    .where("p.state", "=", sql.lit("active"))
    .orderBy(key, direction)
    .limit(limit);
  if (sort) select = select.orderBy("p.id", direction);
  if (after) {
    const [value, id] = after;
    const beyond = direction === "asc" ? sql`>` : sql`<`;
    select = select.where(
      sort
        ? sql<boolean>`(${sort.key}, p.id) ${beyond} (${value}::${sort.type}, ${id}::uuid)`
        : sql<boolean>`p.id ${beyond} ${id}::uuid`,
    );
  }
  if (query.search !== undefined) select = select.where(sql<boolean>`p.search @@ ${query.search}::tsquery`);
  if (query.categoryId !== undefined) select = select.where(isInCategory(query.categoryId));
  if (query.currency !== undefined) select = select.where("p.currency_code", "=", query.currency);
  if (query.leastMinor !== undefined) select = select.where("p.lowest_price_minor", ">=", query.leastMinor);
  if (query.mostMinor !== undefined) select = select.where("p.lowest_price_minor", "<=", query.mostMinor);
  return select.execute(cancelledBy(signal));
}

/** @throws AppError CATEGORY_UNKNOWN */
export async function insertProduct(
  trx: Transaction<ProductTables>,
  id: string,
  fields: ProductFields,
  variants: PricedVariants,
  now: Date,
): Promise<void> {
  const row = { id, state: "active" as const, version: 1, created_at: now, updated_at: now };
  await onConstraint(unknownCategory, () =>
    trx
      .insertInto("products")
      .values({ ...row, ...columnsOf(fields, variants) })
      .execute(),
  );
}

/** Locks a product until the end of the transaction; what was read before may be stale. @throws AppError NOT_FOUND */
export async function lockProduct(trx: Transaction<ProductTables>, id: string): Promise<{ state: ProductState }> {
  const product = await trx.selectFrom("products").select("state").where("id", "=", id).forUpdate().executeTakeFirst();
  if (!product) throw notFound("product", id);
  return product;
}

/** @throws AppError VERSION_MISMATCH, NOT_FOUND, CATEGORY_UNKNOWN */
export async function updateProductFields(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  fields: ProductFields,
  variants: PricedVariants,
  now: Date,
): Promise<void> {
  await onConstraint(unknownCategory, () => update(trx, id, expectedVersion, columnsOf(fields, variants), now));
}

/** @throws AppError VERSION_MISMATCH, NOT_FOUND */
export async function updateProductState(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  state: ProductState,
  now: Date,
): Promise<void> {
  await update(trx, id, expectedVersion, { state }, now);
}

type Columns = Partial<ReturnType<typeof columnsOf>> & { readonly state?: ProductState };

async function update(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  columns: Columns,
  now: Date,
): Promise<void> {
  let query = trx
    .updateTable("products")
    .set((eb) => ({ ...columns, version: eb("version", "+", 1), updated_at: now }))
    .where("id", "=", id);
  if (expectedVersion !== 0) query = query.where("version", "=", expectedVersion);
  const { numUpdatedRows } = await query.executeTakeFirst();
  if (numUpdatedRows === 0n) throw versionMismatch((await getProduct(trx, id)).version);
}

function columnsOf(fields: ProductFields, variants: PricedVariants) {
  return {
    title: fields.title,
    description: fields.description,
    category_id: fields.categoryId,
    tax_category: fields.taxCategory,
    attributes: JSON.stringify(fields.attributes),
    image_urls: fields.imageUrls,
    ...derivedColumns(fields, variants),
  };
}
