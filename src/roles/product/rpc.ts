import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type {
  ProductService,
  QueryProductsRequest,
  UpdateProductRequest,
} from "#gen/commerce/product/v1/product_pb.ts";
import {
  AddProductRequestSchema,
  AddProductResponseSchema,
  ArchiveProductRequestSchema,
  ArchiveProductResponseSchema,
  ListProductsRequestSchema,
  ProductOrder,
  QueryProductsRequestSchema,
  UnarchiveProductRequestSchema,
  UnarchiveProductResponseSchema,
  UpdateProductRequestSchema,
  UpdateProductResponseSchema,
} from "#gen/commerce/product/v1/product_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import { invalidRequest } from "../../platform/errors.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import { parseMoney } from "../../platform/money.ts";
import { addProduct, changeProduct, changeProductState } from "./change-product.ts";
import { exportProducts } from "./export-products.ts";
import type { ProductFields } from "./product.ts";
import { parseVariants } from "./product.ts";
import { productToProto } from "./rpc-messages.ts";
import type { ProductRpcOptions } from "./rpc-categories.ts";
import { createCategoryRpc } from "./rpc-categories.ts";
import type { ProductQuery } from "./store.ts";
import { findProducts, getProduct, getProductBySku, listProducts, queryProducts } from "./store.ts";
import { searchQuery } from "./text.ts";

export function createProductRpc(options: ProductRpcOptions): Handlers<typeof ProductService> {
  const { db, once, pages, clock, announce } = options;
  return {
    ...createCategoryRpc(options),

    async addProduct(request, call) {
      const variants = parseVariants(request.variants, "variants");
      const fields: ProductFields = {
        title: request.title,
        description: request.description,
        categoryId: parseId(request.categoryId) ?? null,
        taxCategory: request.taxCategory || "standard",
        attributes: request.attributes,
        imageUrls: request.imageUrls,
      };
      const claim = claimOf(call, AddProductRequestSchema, request);
      const outcome = await once(claim, AddProductResponseSchema, async (trx) => {
        const product = await addProduct(trx, fields, variants, clock.now(), announce);
        return create(AddProductResponseSchema, { product: productToProto(product) });
      });
      return answer(call, outcome);
    },

    async getProduct({ id, sku }, { signal }) {
      const product = await (id === "" ? getProductBySku(db, sku, signal) : getProduct(db, id.toLowerCase()));
      return { product: productToProto(product) };
    },

    async batchGetProducts(request, { signal }) {
      const ids = [...new Set(request.ids.map((id) => id.toLowerCase()))];
      const skus = [...new Set(request.skus)];
      const found = await findProducts(db, ids, skus, signal);
      const byId = new Map(found.map((product) => [product.id, product]));
      const bySku = new Map(found.flatMap((product) => product.variants.map(({ sku }) => [sku, product])));
      const inOrder = [...ids.map((id) => byId.get(id)), ...skus.map((sku) => bySku.get(sku))];
      return {
        products: [...new Set(inOrder.filter((product) => product !== undefined))].map(productToProto),
        absentIds: ids.filter((id) => !byId.has(id)),
        absentSkus: skus.filter((sku) => !bySku.has(sku)),
      };
    },

    async queryProducts(request, call) {
      const query = parseQuery(request);
      const page = pages.open({
        call,
        schema: QueryProductsRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const after = page.after && ([page.after[0], page.after[1] ?? ""] as const);
      const products = await queryProducts(db, query, after, page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(products, (last) => [last.sort_value, last.id]);
      return { products: rows.map(productToProto), nextPageToken };
    },

    async *listProducts(request, call) {
      const page = pages.open({
        call,
        schema: ListProductsRequestSchema,
        request,
        token: request.resumeToken,
        tokenField: "resume_token",
        omit: ["resumeToken"],
      });
      // A stream that was cut has the limit once, however often it is resumed: its token says how many are left.
      let left = request.limit === 0n ? undefined : BigInt(page.after?.[1] ?? request.limit);
      const filter = {
        categoryId: parseId(request.categoryId),
        includeArchived: request.includeArchived,
        updatedSince: request.updatedSince && parseTime(request.updatedSince, "updated_since"),
      };
      const chunks = exportProducts((after, limit) => listProducts(db, filter, after, limit, call.signal), {
        after: page.after?.[0],
        limit: left,
        signal: call.signal,
      });
      for await (const { products, last } of chunks) {
        if (left !== undefined) left -= BigInt(products.length);
        const resumeToken = page.tokenAfter(left === undefined ? [last.id] : [last.id, String(left)]);
        yield { products: products.map(productToProto), resumeToken };
      }
    },

    async updateProduct(request, call) {
      const { variants: list, expectedVersion } = request;
      const variants = list && parseVariants(list.variants, "variants.variants");
      const change = parseChange(request);
      const claim = claimOf(call, UpdateProductRequestSchema, request);
      const outcome = await once(claim, UpdateProductResponseSchema, async (trx) => {
        const id = request.id.toLowerCase();
        const product = await changeProduct(trx, id, expectedVersion, change, variants, clock.now(), announce);
        return create(UpdateProductResponseSchema, { product: productToProto(product) });
      });
      return answer(call, outcome);
    },

    async archiveProduct(request, call) {
      const claim = claimOf(call, ArchiveProductRequestSchema, request);
      const outcome = await once(claim, ArchiveProductResponseSchema, async (trx) => {
        const id = request.id.toLowerCase();
        const product = await changeProductState(trx, id, request.expectedVersion, "archived", clock.now(), announce);
        return create(ArchiveProductResponseSchema, { product: productToProto(product) });
      });
      return answer(call, outcome);
    },

    async unarchiveProduct(request, call) {
      const claim = claimOf(call, UnarchiveProductRequestSchema, request);
      const outcome = await once(claim, UnarchiveProductResponseSchema, async (trx) => {
        const id = request.id.toLowerCase();
        const product = await changeProductState(trx, id, request.expectedVersion, "active", clock.now(), announce);
        return create(UnarchiveProductResponseSchema, { product: productToProto(product) });
      });
      return answer(call, outcome);
    },
  };
}

/** Lower case, as the database has it; undefined for an empty one. */
function parseId(id: string): string | undefined {
  return id === "" ? undefined : id.toLowerCase();
}

/** Whole milliseconds, rounded up: rows have no finer ones. */
function parseTime({ seconds, nanos }: Timestamp, field: string): Date {
  // The range of google.protobuf.Timestamp: the years 1 to 9999.
  if (seconds < -62_135_596_800n || seconds > 253_402_300_799n || nanos < 0 || nanos > 999_999_999) {
    throw invalidRequest({ field, description: "is not a time from year 1 to 9999" });
  }
  return new Date(Number(seconds) * 1_000 + Math.ceil(nanos / 1_000_000));
}

function parseChange(request: UpdateProductRequest): Partial<ProductFields> {
  const { title, description, categoryId, taxCategory, attributes, imageUrls } = request;
  return {
    ...(title !== undefined && { title }),
    ...(description !== undefined && { description }),
    ...(categoryId !== undefined && { categoryId: parseId(categoryId) ?? null }),
    ...(taxCategory !== undefined && { taxCategory }),
    ...(attributes && { attributes: attributes.attributes }),
    ...(imageUrls && { imageUrls: imageUrls.imageUrls }),
  };
}

function parseQuery(request: QueryProductsRequest): ProductQuery {
  const least = request.minPrice && parseMoney(request.minPrice, "min_price");
  const most = request.maxPrice && parseMoney(request.maxPrice, "max_price");
  if (least && most && least.currency !== most.currency) {
    throw invalidRequest({ field: "max_price.currency_code", description: "must be that of min_price" });
  }
  const search = searchQuery(request.text);
  return {
    search,
    categoryId: parseId(request.categoryId),
    currency: (least ?? most)?.currency,
    leastMinor: least?.minor,
    mostMinor: most?.minor,
    order: orderOf(request.order) ?? (search === undefined ? "newest" : "rank"),
  };
}

function orderOf(order: ProductOrder): ProductQuery["order"] | undefined {
  switch (order) {
    case ProductOrder.NEWEST:
      return "newest";
    case ProductOrder.TITLE:
      return "title";
    case ProductOrder.PRICE_ASCENDING:
      return "cheapest";
    case ProductOrder.PRICE_DESCENDING:
      return "dearest";
    default:
      return undefined;
  }
}
