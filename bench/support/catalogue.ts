import type { Shop } from "./shop.ts";

/** Units on hand of each SKU: more than any bench sells. */
const STOCK = 1_000_000_000;

/** Adds so many products of one SKU each, with stock, by SQL. Answers the SKUs. */
export async function addCatalogue(shop: Shop, count: number): Promise<string[]> {
  await addProducts(shop, count);
  await addStock(shop, "inventory", count);
  return Array.from({ length: count }, (_, n) => skuOf(n + 1));
}

export function skuOf(n: number): string {
  return `BENCH-${String(n).padStart(7, "0")}`;
}

const SKU = "'BENCH-' || lpad(n::text, 7, '0')";

/** Products as a shop has them: half a kilobyte each. */
export async function addProducts(shop: Shop, count: number): Promise<void> {
  await shop.query(
    "product",
    `with added as (
       insert into products (id, title, description, state, tax_category, attributes, image_urls, currency_code,
         lowest_price_minor, title_key, search, version, created_at, updated_at)
       select uuidv7(), 'Lamp of oak, number ' || n, repeat('A lamp that stands on its own. ', 10), 'active', 'standard',
         '{"material": "oak", "style": "nordic"}', array['https://images.example.com/' || n || '.jpg'], 'EUR', 1290,
         'lamp of oak, number ' || n, to_tsvector('english', 'Lamp of oak, number ' || n), 1, now(), now()
       from generate_series(1, $1::int) n
       returning id, title
     )
     insert into variants (sku, product_id, position, options, price_minor, attributes)
     select 'BENCH-' || lpad(substring(title from '\\d+$'), 7, '0'), id, 1, '{}', 1290, '{}' from added`,
    [count],
  );
  await shop.query("product", "vacuum analyze products");
  await shop.query("product", "vacuum analyze variants");
}

/** Stock of the first so many SKUs, in the database of the inventory role or another of its schema. */
export async function addStock(shop: Shop, database: string, count: number): Promise<void> {
  await shop.query(
    database,
    `with items as (
       insert into stock_items (sku, id, created_at, updated_at)
       select ${SKU}, uuidv7(), now(), now() from generate_series(1, $1::int) n returning sku
     ), levels as (
       insert into stock_levels (sku, location, on_hand) select sku, 'main', ${String(STOCK)} from items
     )
     insert into stock_movements (id, sku, location, kind, delta, on_hand, reason, actor, occurred_at)
     select uuidv7(), sku, 'main', 'RECEIPT', ${String(STOCK)}, ${String(STOCK)}, 'opening stock', 'bench', now()
     from items`,
    [count],
  );
  for (const table of ["stock_items", "stock_levels"]) await shop.query(database, `vacuum analyze ${table}`);
}
