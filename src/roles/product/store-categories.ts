import type { Kysely, Selectable, Transaction } from "kysely";
import { sql } from "kysely";
import { onConstraint } from "../../platform/database.ts";
import { notFound, versionMismatch } from "../../platform/errors.ts";
import { MOST_LEVELS } from "./category.ts";
import { productErrors } from "./errors.ts";
import type { Categories, ProductTables } from "./schema.ts";

export type CategoryRow = Selectable<Categories>;

/** Categories that one answer lists. */
const MOST_LISTED = 10_000;

const refused = {
  categories_parent_id_fkey: (cause: unknown) => productErrors.CATEGORY_UNKNOWN({ cause }),
  categories_slug_key: (cause: unknown) => productErrors.SLUG_TAKEN({ cause }),
};

/** Which category a statement is about. */
export type CategoryKey = { readonly id: string } | { readonly slug: string };

/** From the top down to the category; empty where there is none. */
export async function findPath(db: Kysely<ProductTables>, key: CategoryKey): Promise<CategoryRow[]> {
  const isIt = "id" in key ? sql`id = ${key.id}` : sql`slug = ${key.slug}`;
  const { rows } = await sql<CategoryRow>`
    with recursive path as (
      select c.*, 1 as level from categories c where ${isIt}
      union all
      select c.*, path.level + 1 from categories c join path on c.id = path.parent_id where path.level < ${MOST_LEVELS}
    )
    select * from path order by level desc
  `.execute(db);
  return rows;
}

/** Levels of the tree below and with a category: 1 without children. */
export async function findLevels(db: Kysely<ProductTables>, id: string): Promise<number> {
  const { rows } = await sql<{ levels: number }>`
    with recursive below as (
      select id, 1 as level from categories where id = ${id}
      union all
      select c.id, below.level + 1 from categories c join below on c.parent_id = below.id
      where below.level <= ${MOST_LEVELS}
    )
    select coalesce(max(level), 1) as levels from below
  `.execute(db);
  return rows[0]?.levels ?? 1;
}

/** What is below a category, or everything: parents before their children, siblings by position, then name. */
export async function listCategories(db: Kysely<ProductTables>, parentId: string | undefined): Promise<CategoryRow[]> {
  const isRoot = parentId === undefined ? sql`parent_id is null` : sql`parent_id = ${parentId}`;
  const { rows } = await sql<CategoryRow>`
    with recursive tree as (
      select * from categories where ${isRoot}
      union all
      select c.* from categories c join tree on c.parent_id = tree.id
    ) search depth first by position, name_key, id set place
    select id, parent_id, name, slug, position, version, created_at, updated_at from tree
    order by place limit ${MOST_LISTED}
  `.execute(db);
  return rows;
}

/** @throws AppError NOT_FOUND */
export async function getCategory(db: Kysely<ProductTables>, id: string): Promise<CategoryRow> {
  const category = await db.selectFrom("categories").selectAll().where("id", "=", id).executeTakeFirst();
  if (!category) throw notFound("category", id);
  return category;
}

/**
 * Serialises what makes the tree deeper, until the end of the transaction: two moves that are each right can make a
 * cycle together. Read the tree after it, in a statement of its own.
 */
export async function lockTree(trx: Transaction<ProductTables>): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('categories'))`.execute(trx);
}

/** @throws AppError SLUG_TAKEN, CATEGORY_UNKNOWN */
export function insertCategory(trx: Transaction<ProductTables>, category: CategoryRow): Promise<CategoryRow> {
  return onConstraint(refused, () =>
    trx.insertInto("categories").values(category).returningAll().executeTakeFirstOrThrow(),
  );
}

/** Undefined where the slug is taken. @throws AppError CATEGORY_UNKNOWN */
export function insertCategoryUnlessTaken(
  trx: Transaction<ProductTables>,
  category: CategoryRow,
): Promise<CategoryRow | undefined> {
  return onConstraint(refused, () =>
    trx
      .insertInto("categories")
      .values(category)
      .onConflict((conflict) => conflict.constraint("categories_slug_key").doNothing())
      .returningAll()
      .executeTakeFirst(),
  );
}

export type CategoryColumns = Partial<Pick<CategoryRow, "parent_id" | "name" | "name_key" | "slug" | "position">>;

/** @throws AppError NOT_FOUND, VERSION_MISMATCH, SLUG_TAKEN, CATEGORY_UNKNOWN */
export async function updateCategory(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  columns: CategoryColumns,
  now: Date,
): Promise<CategoryRow> {
  let query = trx
    .updateTable("categories")
    .set((eb) => ({ ...columns, version: eb("version", "+", 1), updated_at: now }))
    .where("id", "=", id);
  if (expectedVersion !== 0) query = query.where("version", "=", expectedVersion);
  const updated = await onConstraint(refused, () => query.returningAll().executeTakeFirst());
  if (updated) return updated;
  throw versionMismatch((await getCategory(trx, id)).version);
}

const inUse = (cause: unknown) => productErrors.CATEGORY_IN_USE({ cause });

/** @throws AppError NOT_FOUND, VERSION_MISMATCH, CATEGORY_IN_USE */
export async function deleteCategory(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
): Promise<void> {
  let query = trx.deleteFrom("categories").where("id", "=", id);
  if (expectedVersion !== 0) query = query.where("version", "=", expectedVersion);
  const { numDeletedRows } = await onConstraint(
    { products_category_id_fkey: inUse, categories_parent_id_fkey: inUse },
    () => query.executeTakeFirst(),
  );
  if (numDeletedRows === 0n) throw versionMismatch((await getCategory(trx, id)).version);
}

/** Whether there is neither a product nor a category. */
export async function isCatalogueEmpty(db: Kysely<ProductTables>): Promise<boolean> {
  const { rows } = await sql`select from products union all select from categories limit 1`.execute(db);
  return rows.length === 0;
}
