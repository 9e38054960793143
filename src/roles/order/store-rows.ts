import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { Address, Order, Refund } from "./order.ts";
import type { Adjustment, AdjustmentKind, PricedLine } from "./pricing.ts";
import type { OrderTables, RefundLineJson } from "./schema.ts";

type Db = Kysely<OrderTables>;

/**
 * Parts of an order as one JSON value each: one statement reads an order, or a page of them. Amounts are text. Lines and
 * adjustments never change; who locks the order reads its refunds after that, with {@link selectRefunds}.
 */
export function selectOrders(db: Db) {
  return db
    .selectFrom("orders")
    .selectAll("orders")
    .select([
      sql<LineJson[]>`(
        select json_agg(json_build_object(
          'number', number, 'sku', sku, 'productId', product_id, 'title', title, 'options', options,
          'unitMinor', unit_minor::text, 'quantity', quantity, 'amountMinor', amount_minor::text,
          'taxCategory', tax_category
        ) order by number) from order_lines where order_id = orders.id
      )`.as("lines"),
      sql<AdjustmentJson[] | null>`(
        select json_agg(json_build_object(
          'kind', kind, 'lineNumber', line_number, 'label', label, 'minor', amount_minor::text,
          'included', included, 'source', source
        ) order by number) from order_adjustments where order_id = orders.id
      )`.as("adjustments"),
    ]);
}

const refundsOfOrder = sql<RefundJson[] | null>`(
  select json_agg(json_build_object(
    'id', id, 'minor', amount_minor::text, 'state', state, 'reason', reason, 'lines', lines, 'restock', restock,
    'failureCode', failure_code, 'createdAt', created_at
  ) order by id) from order_refunds where order_id = orders.id
)`.as("refunds");

/** Orders with their refunds, for those who only read. */
export function selectWithRefunds(db: Db) {
  return selectOrders(db).select(refundsOfOrder);
}

/** The refunds of one order. */
export function selectRefunds(db: Db, orderId: string) {
  return db.selectFrom("orders").select(refundsOfOrder).where("id", "=", orderId);
}

/** The row's own conversions are for whole columns; these are within JSON. */
interface RefundJson extends Omit<Refund, "minor" | "lines" | "createdAt"> {
  readonly minor: string;
  readonly lines: readonly RefundLineJson[];
  readonly createdAt: string;
}

interface LineJson extends Omit<PricedLine, "unitMinor" | "amountMinor"> {
  readonly unitMinor: string;
  readonly amountMinor: string;
}

interface AdjustmentJson extends Omit<Adjustment, "minor" | "kind"> {
  readonly kind: AdjustmentKind;
  readonly minor: string;
}

type OrderRow = Awaited<ReturnType<ReturnType<typeof selectOrders>["execute"]>>[number];

export function toOrder(row: OrderRow & { readonly refunds: readonly RefundJson[] | null }): Order {
  return {
    id: row.id,
    userId: row.user_id,
    state: row.state,
    why: { reason: row.reason, metadata: row.reason_metadata },
    currency: row.currency,
    lines: row.lines.map((line) => ({
      ...line,
      unitMinor: BigInt(line.unitMinor),
      amountMinor: BigInt(line.amountMinor),
    })),
    adjustments: (row.adjustments ?? []).map((adjustment) => ({ ...adjustment, minor: BigInt(adjustment.minor) })),
    itemsMinor: row.items_minor,
    totalMinor: row.total_minor,
    paymentMethodToken: row.payment_method_token ?? undefined,
    paymentMethodId: row.payment_method_id ?? undefined,
    shippingAddress: (row.shipping_address as Address | null) ?? undefined,
    billingAddress: (row.billing_address as Address | null) ?? undefined,
    nextAction: row.next_action ?? undefined,
    expiresAt: row.expires_at ?? undefined,
    cancelRequested: row.cancel_requested,
    refunds: (row.refunds ?? []).map(toRefund),
    refundsMinor: row.refunds_minor,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

function toRefund({ lines, createdAt, ...refund }: RefundJson): Refund {
  return {
    ...refund,
    minor: BigInt(refund.minor),
    lines: lines.map((line) => ({ ...line, minor: BigInt(line.minor) })),
    createdAt: new Date(createdAt),
  };
}
