import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Kysely } from "kysely";
import type { Category, ProductService, UpdateCategoryRequest } from "#gen/commerce/product/v1/product_pb.ts";
import {
  CategorySchema,
  CreateCategoryRequestSchema,
  CreateCategoryResponseSchema,
  DeleteCategoryRequestSchema,
  DeleteCategoryResponseSchema,
  UpdateCategoryRequestSchema,
  UpdateCategoryResponseSchema,
} from "#gen/commerce/product/v1/product_pb.ts";
import type { Handlers } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { notFound } from "../../platform/errors.ts";
import type { Once } from "../../platform/idempotency.ts";
import { answer, claimOf } from "../../platform/idempotency.ts";
import type { PageTokens } from "../../platform/page.ts";
import type { CategoryChange } from "./change-category.ts";
import { changeCategory, createCategory } from "./change-category.ts";
import type { ProductTables } from "./schema.ts";
import type { CategoryRow } from "./store-categories.ts";
import { deleteCategory, findPath, listCategories } from "./store-categories.ts";

/** What all methods of ProductService stand on. */
export interface ProductRpcOptions {
  readonly db: Kysely<ProductTables>;
  readonly once: Once<ProductTables>;
  readonly pages: PageTokens;
  readonly clock: Clock;
}

type CategoryMethods = "createCategory" | "getCategory" | "listCategories" | "updateCategory" | "deleteCategory";

/** The methods of ProductService that are about categories. */
export function createCategoryRpc({
  db,
  once,
  clock,
}: ProductRpcOptions): Pick<Handlers<typeof ProductService>, CategoryMethods> {
  return {
    async createCategory(request, call) {
      const claim = claimOf(call, CreateCategoryRequestSchema, request);
      const given = {
        parentId: request.parentId.toLowerCase() || null,
        name: request.name,
        slug: request.slug || undefined,
        position: request.position,
      };
      const outcome = await once(claim, CreateCategoryResponseSchema, async (trx) => {
        const category = await createCategory(trx, given, clock.now());
        return create(CreateCategoryResponseSchema, { category: toProto(category) });
      });
      return answer(call, outcome);
    },

    async getCategory({ id, slug }) {
      const path = await findPath(db, id === "" ? { slug } : { id: id.toLowerCase() });
      const category = path.at(-1);
      if (!category) throw notFound("category", id || slug);
      return { category: toProto(category), ancestors: path.slice(0, -1).map(toProto) };
    },

    async listCategories(request) {
      const categories = await listCategories(db, request.parentId.toLowerCase() || undefined);
      return { categories: categories.map(toProto) };
    },

    async updateCategory(request, call) {
      const claim = claimOf(call, UpdateCategoryRequestSchema, request);
      const outcome = await once(claim, UpdateCategoryResponseSchema, async (trx) => {
        const id = request.id.toLowerCase();
        const category = await changeCategory(trx, id, request.expectedVersion, parseChange(request), clock.now());
        return create(UpdateCategoryResponseSchema, { category: toProto(category) });
      });
      return answer(call, outcome);
    },

    async deleteCategory(request, call) {
      const claim = claimOf(call, DeleteCategoryRequestSchema, request);
      const outcome = await once(claim, DeleteCategoryResponseSchema, async (trx) => {
        await deleteCategory(trx, request.id.toLowerCase(), request.expectedVersion);
        return create(DeleteCategoryResponseSchema);
      });
      return answer(call, outcome);
    },
  };
}

function parseChange({ parentId, name, slug, position }: UpdateCategoryRequest): CategoryChange {
  return {
    ...(parentId !== undefined && { parentId: parentId.toLowerCase() || null }),
    ...(name !== undefined && { name }),
    ...(slug !== undefined && { slug }),
    ...(position !== undefined && { position }),
  };
}

function toProto(category: CategoryRow): Category {
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
