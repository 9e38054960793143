import type { Kysely, RawBuilder, Transaction } from "kysely";
import { sql } from "kysely";
import { cancelledBy } from "../../platform/database.ts";
import { notFound } from "../../platform/errors.ts";
import type { Claim } from "../../platform/idempotency.ts";
import { claimCte } from "../../platform/idempotency.ts";
import type { OrderAnnouncements } from "./events.ts";
import type { Address, Order, OrderTransition, OrderState, Reason } from "./order.ts";
import { mayBecome } from "./order.ts";
import type { Adjustment, AdjustmentKind, PricedLine } from "./pricing.ts";
import type { OrderTables } from "./schema.ts";

type Db = Kysely<OrderTables>;

/** The channel on which a change of an order is announced; the payload is its id. */
export const ORDER_CHANNEL = "order_events";

/**
 * Records an order with its lines, adjustments, first history row, event and idempotency key in ONE statement: one trip,
 * and nothing can be half there. Answers whether it was recorded; false: the key is taken.
 *
 * Alternatives, measured on two cores: a Kysely transaction of five statements 2,700/s, one statement 11,600/s.
 */
export async function insertOrder(
  db: Db,
  order: Order,
  claim: { readonly claim: Claim; readonly response: Buffer } | undefined,
  announce: OrderAnnouncements,
): Promise<boolean> {
  const claimed = claim ? claimCte(claim.claim, claim.response) : sql`select 1`;
  const { rows } = await sql`
    with claim as (${claimed}),
    recorded as (
      insert into orders (
        id, user_id, state, currency, items_minor, total_minor, payment_method_token,
        shipping_address, billing_address, version, created_at, updated_at
      )
      select ${order.id}::uuid, ${order.userId}::uuid, ${order.state}, ${order.currency}, ${order.itemsMinor}::bigint,
        ${order.totalMinor}::bigint, ${order.paymentMethodToken ?? null}, ${json(order.shippingAddress)},
        ${json(order.billingAddress)}, ${order.version}::int, ${order.createdAt}::timestamptz, ${order.updatedAt}::timestamptz
      where exists (select from claim)
      returning id
    ),
    lines as (
      insert into order_lines (
        order_id, number, sku, product_id, title, options, unit_minor, quantity, amount_minor, tax_category
      )
      select recorded.id, line.* from recorded, jsonb_to_recordset(${json(order.lines.map(lineRow))}) as line (
        number int, sku text, product_id uuid, title text, options jsonb, unit_minor bigint, quantity int,
        amount_minor bigint, tax_category text
      )
    ),
    adjustments as (
      insert into order_adjustments (order_id, number, kind, line_number, label, amount_minor, included, source)
      select recorded.id, adjustment.* from recorded, jsonb_to_recordset(${json(order.adjustments.map(adjustmentRow))})
        as adjustment (
          number int, kind text, line_number int, label text, amount_minor bigint, included boolean, source text
        )
    ),
    history as (
      insert into order_events (order_id, position, state, occurred_at)
      select id, 1, ${order.state}, ${order.createdAt}::timestamptz from recorded
    ),
    ${announce.placed(order, sql`exists (select from recorded)`)}
    select id from recorded
  `.execute(db);
  announce.wake();
  return rows.length > 0;
}

function json(value: unknown): RawBuilder<unknown> {
  return value === undefined ? sql`null::jsonb` : sql`${JSON.stringify(value)}::jsonb`;
}

function lineRow(line: PricedLine) {
  return {
    number: line.number,
    sku: line.sku,
    product_id: line.productId,
    title: line.title,
    options: line.options,
    unit_minor: String(line.unitMinor),
    quantity: line.quantity,
    amount_minor: String(line.amountMinor),
    tax_category: line.taxCategory,
  };
}

function adjustmentRow(adjustment: Adjustment, index: number) {
  return {
    number: index + 1,
    kind: adjustment.kind,
    line_number: adjustment.lineNumber,
    label: adjustment.label,
    amount_minor: String(adjustment.minor),
    included: adjustment.included,
    source: adjustment.source,
  };
}

/** @param signal cancels the query; leave it out in a transaction. */
export async function findOrder(db: Db, id: string, signal?: AbortSignal): Promise<Order | undefined> {
  const row = await selectOrders(db)
    .where("orders.id", "=", id)
    .executeTakeFirst(signal && cancelledBy(signal));
  return row && toOrder(row);
}

/** @throws AppError NOT_FOUND */
export async function getOrder(db: Db, id: string, signal?: AbortSignal): Promise<Order> {
  const order = await findOrder(db, id, signal);
  if (!order) throw notFound("order", id);
  return order;
}

/** Locks the order until the transaction ends. @throws AppError NOT_FOUND */
export async function lockOrder(trx: Transaction<OrderTables>, id: string): Promise<Order> {
  const locked = await trx.selectFrom("orders").select("id").where("id", "=", id).forUpdate().executeTakeFirst();
  if (!locked) throw notFound("order", id);
  return getOrder(trx, id);
}

export interface OrderFilter {
  readonly userId: string;
  readonly states: readonly OrderState[];
  readonly createdSince: Date | undefined;
  readonly createdBefore: Date | undefined;
}

/** A user's orders, newest first, after the one with the given id. */
export async function listOrders(
  db: Db,
  filter: OrderFilter,
  afterId: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<Order[]> {
  let query = selectOrders(db).where("orders.user_id", "=", filter.userId).orderBy("orders.id", "desc").limit(limit);
  if (filter.states.length > 0) query = query.where("orders.state", "in", filter.states);
  if (filter.createdSince) query = query.where("orders.created_at", ">=", filter.createdSince);
  if (filter.createdBefore) query = query.where("orders.created_at", "<", filter.createdBefore);
  if (afterId !== undefined) query = query.where("orders.id", "<", afterId);
  return (await query.execute(cancelledBy(signal))).map(toOrder);
}

/** Moves a locked order to a state: the order, its history, its event and the announcement to those who watch. */
export async function advanceOrder(
  trx: Transaction<OrderTables>,
  order: Order,
  state: OrderState,
  why: Reason,
  now: Date,
  announce: OrderAnnouncements,
): Promise<Order> {
  if (!mayBecome(order.state, state)) throw new Error(`an order that is ${order.state} cannot become ${state}`);
  const metadata = JSON.stringify(why.metadata);
  await trx
    .updateTable("orders")
    .set({ state, reason: why.reason, reason_metadata: metadata, version: order.version + 1, updated_at: now })
    .where("id", "=", order.id)
    .where("version", "=", order.version)
    .executeTakeFirstOrThrow();
  await sql`
    insert into order_events (order_id, position, state, reason, reason_metadata, occurred_at)
    select ${order.id}, max(position) + 1, ${state}, ${why.reason}, ${metadata}::jsonb, ${now}::timestamptz
    from order_events where order_id = ${order.id}
  `.execute(trx);
  await sql`select pg_notify(${ORDER_CHANNEL}, ${order.id})`.execute(trx);
  const advanced = { ...order, state, why, version: order.version + 1, updatedAt: now };
  await announce.advanced(trx, advanced);
  return advanced;
}

/** An order's history after a position, oldest first. Empty where there is no such order. */
export async function listEvents(
  db: Db,
  orderId: string,
  after: bigint,
  signal: AbortSignal,
): Promise<OrderTransition[]> {
  const rows = await db
    .selectFrom("order_events")
    .selectAll()
    .where("order_id", "=", orderId)
    .where("position", ">", after)
    .orderBy("position")
    .execute(cancelledBy(signal));
  return rows.map((row) => ({
    position: row.position,
    state: row.state,
    why: { reason: row.reason, metadata: row.reason_metadata },
    occurredAt: row.occurred_at,
  }));
}

/** Parts of an order as one JSON value each: one statement reads an order, or a page of them. Amounts are text. */
function selectOrders(db: Db) {
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

interface LineJson extends Omit<PricedLine, "unitMinor" | "amountMinor"> {
  readonly unitMinor: string;
  readonly amountMinor: string;
}

interface AdjustmentJson extends Omit<Adjustment, "minor" | "kind"> {
  readonly kind: AdjustmentKind;
  readonly minor: string;
}

type OrderRow = Awaited<ReturnType<ReturnType<typeof selectOrders>["execute"]>>[number];

function toOrder(row: OrderRow): Order {
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
    shippingAddress: (row.shipping_address as Address | null) ?? undefined,
    billingAddress: (row.billing_address as Address | null) ?? undefined,
    nextAction: row.next_action ?? undefined,
    expiresAt: row.expires_at ?? undefined,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
