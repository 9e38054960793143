import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { createCategory } from "./change-category.ts";
import { addProduct } from "./change-product.ts";
import type { CatalogueAnnouncements } from "./events.ts";
import { SAMPLES } from "./samples.ts";
import type { ProductTables } from "./schema.ts";
import { isCatalogueEmpty, lockTree } from "./store-categories.ts";

/** Adds the sample catalogue where there is neither a product nor a category, all of it or nothing. */
export async function addSamples(
  db: Kysely<ProductTables>,
  clock: Clock,
  announce: CatalogueAnnouncements,
): Promise<void> {
  await transaction(db, async (trx) => {
    // Of two processes that start at once the second waits, and finds it done.
    await lockTree(trx);
    if (!(await isCatalogueEmpty(trx))) return;
    for (const [position, { name, products }] of SAMPLES.categories.entries()) {
      const category = await createCategory(
        trx,
        { parentId: null, name, slug: undefined, position },
        clock.now(),
        announce,
      );
      for (const { title, description, taxCategory = "standard", attributes = {}, variants } of products) {
        const fields = { title, description, categoryId: category.id, taxCategory, attributes, imageUrls: [] };
        const priced = {
          currency: SAMPLES.currency,
          variants: variants.map(({ sku, options = {}, priceMinor }) => ({ sku, options, priceMinor, attributes: {} })),
        };
        await addProduct(trx, fields, priced, clock.now(), announce);
      }
    }
  });
}
