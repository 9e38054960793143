import type { JSONColumnType } from "kysely";
import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";
import type { ProductState, TextMap } from "./product.ts";

export interface Categories {
  id: string;
  parent_id: string | null;
  name: string;
  name_key: string;
  slug: string;
  position: number;
  version: number;
  created_at: Date;
  updated_at: Date;
}

export interface Products {
  id: string;
  title: string;
  description: string;
  state: ProductState;
  category_id: string | null;
  tax_category: string;
  attributes: JSONColumnType<TextMap>;
  image_urls: readonly string[];
  /** Of all variants on sale. */
  currency_code: string;
  /** Of the variants on sale. */
  lowest_price_minor: bigint;
  title_key: string;
  /** A tsvector. */
  search: string;
  version: number;
  created_at: Date;
  updated_at: Date;
}

export interface Variants {
  /** As it was given; `variants_sku_key` makes it unique in lower case. */
  sku: string;
  product_id: string;
  /** Its place among the variants of the product. */
  position: number;
  options: JSONColumnType<TextMap>;
  price_minor: bigint;
  attributes: JSONColumnType<TextMap>;
  /** When it was taken off sale; the row keeps the SKU taken. */
  retired_at: Date | null;
}

export interface ProductTables extends WithIdempotencyKeys {
  categories: Categories;
  products: Products;
  variants: Variants;
}
