import type { Transaction } from "kysely";
import { ProductEventSchema } from "#gen/commerce/product/v1/events_pb.ts";
import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import type { Outbox } from "../../platform/events/outbox.ts";
import { categoryToProto, productToProto } from "./rpc-messages.ts";
import type { ProductTables } from "./schema.ts";
import type { CategoryRow } from "./store-categories.ts";
import type { ProductRow } from "./store.ts";

export const productEvents = { emits: { schema: ProductEventSchema, version: 1 } } satisfies EventsDeclaration;

type Trx = Transaction<ProductTables>;

/** Tells others of the changes of the catalogue. Each is written in the change's own transaction. */
export interface CatalogueAnnouncements {
  /** With the product as it is after the change. */
  product(trx: Trx, what: "added" | "updated" | "archived" | "unarchived", product: ProductRow): Promise<void>;
  /** With the category as it is after the change. */
  category(trx: Trx, what: "categoryCreated" | "categoryUpdated", category: CategoryRow): Promise<void>;
  categoryDeleted(trx: Trx, id: string, now: Date): Promise<void>;
}

export function announceCatalogue(outbox: Outbox<typeof ProductEventSchema>): CatalogueAnnouncements {
  return {
    product: (trx, what, product) =>
      outbox.emit(trx, product.id, { case: what, value: { product: productToProto(product) } }, product.updated_at),
    category: (trx, what, category) =>
      outbox.emit(
        trx,
        category.id,
        { case: what, value: { category: categoryToProto(category) } },
        category.updated_at,
      ),
    categoryDeleted: (trx, id, now) =>
      outbox.emit(trx, id, { case: "categoryDeleted", value: { categoryId: id } }, now),
  };
}
