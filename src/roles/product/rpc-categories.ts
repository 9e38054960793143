import { create } from "@bufbuild/protobuf";
import type { Kysely } from "kysely";
import type { ProductService, UpdateCategoryRequest } from "#gen/commerce/product/v1/product_pb.ts";
import {
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
import type { CatalogueAnnouncements } from "./events.ts";
import { categoryToProto } from "./rpc-messages.ts";
import type { ProductTables } from "./schema.ts";
import { deleteCategory, findPath, listCategories } from "./store-categories.ts";

/** What all methods of ProductService stand on. */
export interface ProductRpcOptions {
  readonly db: Kysely<ProductTables>;
  readonly once: Once<ProductTables>;
  readonly pages: PageTokens;
  readonly clock: Clock;
  readonly announce: CatalogueAnnouncements;
}

type CategoryMethods = "createCategory" | "getCategory" | "listCategories" | "updateCategory" | "deleteCategory";

/** The methods of ProductService that are about categories. */
export function createCategoryRpc({
  db,
  once,
  clock,
  announce,
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
        const category = await createCategory(trx, given, clock.now(), announce);
        return create(CreateCategoryResponseSchema, { category: categoryToProto(category) });
      });
      return answer(call, outcome);
    },

    async getCategory({ id, slug }) {
      const path = await findPath(db, id === "" ? { slug } : { id: id.toLowerCase() });
      const category = path.at(-1);
      if (!category) throw notFound("category", id || slug);
      return { category: categoryToProto(category), ancestors: path.slice(0, -1).map(categoryToProto) };
    },

    async listCategories(request) {
      const categories = await listCategories(db, request.parentId.toLowerCase() || undefined);
      return { categories: categories.map(categoryToProto) };
    },

    async updateCategory(request, call) {
      const claim = claimOf(call, UpdateCategoryRequestSchema, request);
      const outcome = await once(claim, UpdateCategoryResponseSchema, async (trx) => {
        const id = request.id.toLowerCase();
        const category = await changeCategory(
          trx,
          id,
          request.expectedVersion,
          parseChange(request),
          clock.now(),
          announce,
        );
        return create(UpdateCategoryResponseSchema, { category: categoryToProto(category) });
      });
      return answer(call, outcome);
    },

    async deleteCategory(request, call) {
      const claim = claimOf(call, DeleteCategoryRequestSchema, request);
      const outcome = await once(claim, DeleteCategoryResponseSchema, async (trx) => {
        const id = request.id.toLowerCase();
        await deleteCategory(trx, id, request.expectedVersion);
        await announce.categoryDeleted(trx, id, clock.now());
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
