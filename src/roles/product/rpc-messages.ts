import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Category, Product } from "#gen/commerce/product/v1/product_pb.ts";
import { CategorySchema, ProductSchema, ProductState } from "#gen/commerce/product/v1/product_pb.ts";
import type { CategoryRow } from "./store-categories.ts";
import type { ProductRow } from "./store.ts";

/** A product as every method answers it. */
export function productToProto(product: ProductRow): Product {
  return create(ProductSchema, {
    id: product.id,
    title: product.title,
    description: product.description,
    state: product.state === "active" ? ProductState.ACTIVE : ProductState.ARCHIVED,
    categoryId: product.category_id ?? "",
    taxCategory: product.tax_category,
    variants: product.variants.map(({ sku, options, price_minor, attributes }) => ({
      sku,
      options,
      price: { currencyCode: product.currency_code, amountMinor: BigInt(price_minor) },
      attributes,
    })),
    attributes: product.attributes,
    imageUrls: [...product.image_urls],
    version: product.version,
    createdAt: timestampFromDate(product.created_at),
    updatedAt: timestampFromDate(product.updated_at),
  });
}

/** A category as every method answers it. */
export function categoryToProto(category: CategoryRow): Category {
  return create(CategorySchema, {
    id: category.id,
    parentId: category.parent_id ?? "",
    name: category.name,
    slug: category.slug,
    position: category.position,
    version: category.version,
    createdAt: timestampFromDate(category.created_at),
    updatedAt: timestampFromDate(category.updated_at),
  });
}
