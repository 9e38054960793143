import type { Transaction } from "kysely";
import { versionMismatch } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import { checkPlace, slugOf } from "./category.ts";
import type { CatalogueAnnouncements } from "./events.ts";
import type { ProductTables } from "./schema.ts";
import type { CategoryRow } from "./store-categories.ts";
import {
  findLevels,
  findPath,
  getCategory,
  insertCategory,
  insertCategoryUnlessTaken,
  lockTree,
  updateCategory,
} from "./store-categories.ts";
import { sortKey } from "./text.ts";

export interface NewCategory {
  readonly parentId: string | null;
  readonly name: string;
  /** Undefined: made of the name, with a number where that is taken. */
  readonly slug: string | undefined;
  readonly position: number;
}

/** @throws AppError SLUG_TAKEN for a given slug, CATEGORY_UNKNOWN, CATEGORY_CYCLE where the tree would be too deep */
export async function createCategory(
  trx: Transaction<ProductTables>,
  { parentId, name, slug, position }: NewCategory,
  now: Date,
  announce: CatalogueAnnouncements,
): Promise<CategoryRow> {
  const id = newId();
  if (parentId !== null) {
    await lockTree(trx);
    checkPlace(id, await pathTo(trx, parentId), 1);
  }
  const category = (ownSlug: string): CategoryRow => ({
    id,
    parent_id: parentId,
    name,
    name_key: sortKey(name),
    slug: ownSlug,
    position,
    version: 1,
    created_at: now,
    updated_at: now,
  });
  const created = await (slug === undefined ? insertUnderFreeSlug() : insertCategory(trx, category(slug)));
  await announce.category(trx, "categoryCreated", created);
  return created;

  async function insertUnderFreeSlug(): Promise<CategoryRow> {
    const base = slugOf(name);
    for (let number = 1; ; number += 1) {
      const ownSlug = number === 1 ? base : `${base}-${String(number)}`;
      const inserted = await insertCategoryUnlessTaken(trx, category(ownSlug));
      if (inserted) return inserted;
    }
  }
}

export interface CategoryChange {
  /** Null moves it to the top. */
  readonly parentId?: string | null;
  readonly name?: string;
  readonly slug?: string;
  readonly position?: number;
}

/**
 * Changes the fields that are present; with none it answers the category as it is.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, SLUG_TAKEN, CATEGORY_UNKNOWN, CATEGORY_CYCLE
 */
export async function changeCategory(
  trx: Transaction<ProductTables>,
  id: string,
  expectedVersion: number,
  { parentId, name, ...others }: CategoryChange,
  now: Date,
  announce: CatalogueAnnouncements,
): Promise<CategoryRow> {
  const columns = {
    ...others,
    ...(parentId !== undefined && { parent_id: parentId }),
    ...(name !== undefined && { name, name_key: sortKey(name) }),
  };
  if (Object.keys(columns).length === 0) {
    const category = await getCategory(trx, id);
    if (expectedVersion !== 0 && expectedVersion !== category.version) throw versionMismatch(category.version);
    return category;
  }
  if (typeof parentId === "string") {
    await lockTree(trx);
    checkPlace(id, await pathTo(trx, parentId), await findLevels(trx, id));
  }
  const updated = await updateCategory(trx, id, expectedVersion, columns, now);
  await announce.category(trx, "categoryUpdated", updated);
  return updated;
}

async function pathTo(trx: Transaction<ProductTables>, id: string): Promise<string[]> {
  return (await findPath(trx, { id })).map((category) => category.id);
}
