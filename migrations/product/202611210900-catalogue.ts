import type { Kysely } from "kysely";
import { sql } from "kysely";

const moment = sql`timestamptz(3)`;
// The same order and the same lower case on every server, whatever its locale.
const ascii = sql`text collate "C"`;

export async function up(db: Kysely<unknown>): Promise<void> {
  await createCategories(db);
  await createProducts(db);
  await createVariants(db);
  await createIdempotencyKeys(db);
}

async function createCategories(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("categories")
    .addColumn("id", "uuid", (column) => column.notNull())
    .addColumn("parent_id", "uuid")
    .addColumn("name", "text", (column) => column.notNull())
    // What siblings of one position are sorted by.
    .addColumn("name_key", ascii, (column) => column.notNull())
    .addColumn("slug", ascii, (column) => column.notNull())
    .addColumn("position", "integer", (column) => column.notNull())
    .addColumn("version", "integer", (column) => column.notNull())
    .addColumn("created_at", moment, (column) => column.notNull())
    .addColumn("updated_at", moment, (column) => column.notNull())
    .addPrimaryKeyConstraint("categories_pkey", ["id"])
    .addUniqueConstraint("categories_slug_key", ["slug"])
    // Not `on delete restrict`: since Postgres 18 that is another error than a foreign key violation.
    .addForeignKeyConstraint("categories_parent_id_fkey", ["parent_id"], "categories", ["id"])
    .addCheckConstraint("categories_parent_id_check", sql`parent_id <> id`)
    .addCheckConstraint("categories_version_check", sql`version > 0`)
    .execute();
  await db.schema.createIndex("categories_parent_id_idx").on("categories").column("parent_id").execute();
}

async function createProducts(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("products")
    .addColumn("id", "uuid", (column) => column.notNull())
    .addColumn("title", "text", (column) => column.notNull())
    .addColumn("description", "text", (column) => column.notNull())
    .addColumn("state", "text", (column) => column.notNull())
    .addColumn("category_id", "uuid")
    .addColumn("tax_category", "text", (column) => column.notNull())
    .addColumn("attributes", "jsonb", (column) => column.notNull())
    .addColumn("image_urls", sql`text[]`, (column) => column.notNull())
    // Of all the variants on sale: one currency, by being here.
    .addColumn("currency_code", "text", (column) => column.notNull())
    // The next three follow from the others and the variants; QueryProducts finds and sorts by them.
    .addColumn("lowest_price_minor", "bigint", (column) => column.notNull())
    .addColumn("title_key", ascii, (column) => column.notNull())
    .addColumn("search", sql`tsvector`, (column) => column.notNull())
    .addColumn("version", "integer", (column) => column.notNull())
    .addColumn("created_at", moment, (column) => column.notNull())
    .addColumn("updated_at", moment, (column) => column.notNull())
    .addPrimaryKeyConstraint("products_pkey", ["id"])
    .addForeignKeyConstraint("products_category_id_fkey", ["category_id"], "categories", ["id"])
    .addCheckConstraint("products_state_check", sql`state in ('active', 'archived')`)
    .addCheckConstraint("products_lowest_price_minor_check", sql`lowest_price_minor >= 0`)
    .addCheckConstraint("products_version_check", sql`version > 0`)
    .execute();
  await sql`create index products_category_id_idx on products (category_id, id)`.execute(db);
  await sql`create index products_updated_at_idx on products (updated_at)`.execute(db);
  // The orders of QueryProducts; NEWEST is the primary key backwards.
  await sql`create index products_title_idx on products (title_key, id) where state = 'active'`.execute(db);
  await sql`create index products_price_idx on products (lowest_price_minor, id) where state = 'active'`.execute(db);
  await sql`create index products_search_idx on products using gin (search)`.execute(db);
}

async function createVariants(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("variants")
    .addColumn("sku", ascii, (column) => column.notNull())
    .addColumn("product_id", "uuid", (column) => column.notNull())
    .addColumn("position", "integer", (column) => column.notNull())
    .addColumn("options", "jsonb", (column) => column.notNull())
    .addColumn("price_minor", "bigint", (column) => column.notNull())
    .addColumn("attributes", "jsonb", (column) => column.notNull())
    .addColumn("retired_at", moment)
    .addPrimaryKeyConstraint("variants_pkey", ["product_id", "sku"])
    .addForeignKeyConstraint("variants_product_id_fkey", ["product_id"], "products", ["id"])
    .addCheckConstraint("variants_price_minor_check", sql`price_minor >= 0`)
    .execute();
  // The only uniqueness of SKUs over the shop. A second unique index on `sku` alone would be checked beside the one
  // that `on conflict` names, and fail the loser of a race by itself.
  await sql`create unique index variants_sku_key on variants (lower(sku))`.execute(db);
}

async function createIdempotencyKeys(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("idempotency_keys")
    .addColumn("scope", "text", (column) => column.notNull())
    .addColumn("method", "text", (column) => column.notNull())
    .addColumn("key", "text", (column) => column.notNull())
    .addColumn("request_hash", "bytea", (column) => column.notNull())
    .addColumn("response", "bytea", (column) => column.notNull())
    .addColumn("created_at", "timestamptz", (column) => column.notNull())
    .addPrimaryKeyConstraint("idempotency_keys_pkey", ["scope", "method", "key"])
    .execute();
  await db.schema.createIndex("idempotency_keys_created_at_idx").on("idempotency_keys").column("created_at").execute();
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ["idempotency_keys", "variants", "products", "categories"]) {
    await db.schema.dropTable(table).execute();
  }
}
