import { randomUUID } from "node:crypto";
import type { Client } from "pg";
import { newId } from "../../src/platform/id.ts";
import { partitionOf } from "../../src/platform/events/outbox.ts";
import type { Job } from "./loops.ts";
import { openClients, send, sqlJob } from "./pg-clients.ts";
import { sampleOrder, statementOf } from "./sample-order.ts";

export interface OrdersSqlOptions {
  /** Of a database with the order role's schema, in which nothing else runs. */
  readonly url: string;
  readonly clients: number;
  readonly lines: number;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The order role's own statement for a new order, with new ids in each call. */
export async function orderStatementJob({ url, clients, lines }: OrdersSqlOptions): Promise<Job> {
  const { text, values } = await statementOf(sampleOrder(lines));
  return sqlJob(await openClients(url, clients, false), async (client) => {
    const renamed = new Map<unknown, string>();
    const own = values.map((value) => {
      if (typeof value !== "string" || !UUID.test(value)) return value;
      const id = renamed.get(value) ?? newId();
      renamed.set(value, id);
      return id;
    });
    const { rowCount } = await send(client, "order", text, own);
    return rowCount ?? 0;
  });
}

const inserts = {
  claim: `insert into idempotency_keys (scope, method, key, request_hash, response, created_at)
    values ($1, $2, $3, $4, $5, now()) on conflict do nothing returning 1`,
  order: `insert into orders (id, user_id, state, currency, items_minor, total_minor, version, created_at, updated_at)
    values ($1, $2, 'PENDING', $3, $4, $5, 1, $6, $6)`,
  line: `insert into order_lines (order_id, number, sku, product_id, title, options, unit_minor, quantity, amount_minor,
    tax_category) values ($1, $2, $3, $4, $5, '{}', $6, $7, $8, $9)`,
  adjustment: `insert into order_adjustments (order_id, number, kind, line_number, label, amount_minor, included, source)
    values ($1, $2, $3, $4, $5, $6, $7, $8)`,
  history: `insert into order_events (order_id, position, state, occurred_at, step, message)
    values ($1, 1, 'PENDING', $2, 'PLACED', 'The order was placed.')`,
  saga: `insert into sagas (id, order_id, kind, version, step, step_since, due_at, created_at)
    values ($1, $1, 'CHECKOUT', 1, 'RESERVE', $2, clock_timestamp(), $2)`,
  sequence: "insert into outbox_sequences (aggregate_id, last) values ($1, 1)",
  outbox: `insert into outbox (id, partition, aggregate_id, sequence, type, version, payload, traceparent, occurred_at)
    values ($1, $2, $3, 1, 'order.placed', 1, $4, '', $5)`,
} as const;

/**
 * One transaction of several statements for each order, the same rows in the same tables. They are sent in a pipeline
 * where `isPipelined`, else each waits for the one before, as code usually does.
 */
export async function orderTransactionJob(options: OrdersSqlOptions & { readonly isPipelined: boolean }): Promise<Job> {
  const sample = sampleOrder(options.lines);
  const clients = await openClients(options.url, options.clients, options.isPipelined);
  return sqlJob(clients, async (client) => {
    const statements = transactionOf(sample);
    if (options.isPipelined) await Promise.all(statements.map((statement) => statement(client)));
    else for (const statement of statements) await statement(client);
    return 1;
  });
}

type Send = (client: Client) => Promise<unknown>;

function transactionOf({ order, response }: ReturnType<typeof sampleOrder>): Send[] {
  const [id, userId, now] = [newId(), newId(), new Date()];
  const insert =
    (name: keyof typeof inserts, ...values: unknown[]): Send =>
    (client) =>
      send(client, name, inserts[name], values);
  return [
    (client) => client.query("begin"),
    insert("claim", userId, "CreateOrder", randomUUID(), Buffer.alloc(32, 1), response),
    insert("order", id, userId, order.currency, String(order.itemsMinor), String(order.totalMinor), now),
    ...order.lines.map((line) =>
      insert(
        "line",
        id,
        line.number,
        line.sku,
        line.productId,
        line.title,
        String(line.unitMinor),
        line.quantity,
        String(line.amountMinor),
        line.taxCategory,
      ),
    ),
    ...order.adjustments.map((each, index) =>
      insert(
        "adjustment",
        id,
        index + 1,
        each.kind,
        each.lineNumber,
        each.label,
        String(each.minor),
        each.included,
        each.source,
      ),
    ),
    insert("history", id, now),
    insert("saga", id, now),
    insert("sequence", id),
    insert("outbox", newId(), partitionOf(id), id, response, now),
    (client) => client.query("commit"),
  ];
}

const BATCH = `
  with claims as (
    insert into idempotency_keys (scope, method, key, request_hash, response, created_at)
    select user_id::text, 'CreateOrder', key, $6, $7, now() from unnest($1::uuid[], $2::uuid[], $3::text[]) as o (id, user_id, key)
  ), recorded as (
    insert into orders (id, user_id, state, currency, items_minor, total_minor, version, created_at, updated_at)
    select id, user_id, 'PENDING', 'EUR', $8, $9, 1, now(), now() from unnest($1::uuid[], $2::uuid[]) as o (id, user_id)
    returning id
  ), lines as (
    insert into order_lines (order_id, number, sku, product_id, title, options, unit_minor, quantity, amount_minor, tax_category)
    select id, line.number, 'BENCH-000000', id, 'A product of the bench', '{}', 1290, 1, 1290, 'standard'
    from unnest($1::uuid[]) as o (id), generate_series(1, $10::int) as line (number)
  ), adjustments as (
    insert into order_adjustments (order_id, number, kind, line_number, label, amount_minor, included, source)
    select id, 1, 'TAX', 0, 'VAT 19 %', 245, false, 'tax:DE:standard' from unnest($1::uuid[]) as o (id)
  ), history as (
    insert into order_events (order_id, position, state, occurred_at, step, message)
    select id, 1, 'PENDING', now(), 'PLACED', 'The order was placed.' from unnest($1::uuid[]) as o (id)
  ), saga as (
    insert into sagas (id, order_id, kind, version, step, step_since, due_at, created_at)
    select id, id, 'CHECKOUT', 1, 'RESERVE', now(), now(), now() from unnest($1::uuid[]) as o (id)
  ), numbered as (
    insert into outbox_sequences (aggregate_id, last) select id, 1 from unnest($1::uuid[]) as o (id)
  ), written as (
    insert into outbox (id, partition, aggregate_id, sequence, type, version, payload, traceparent, occurred_at)
    select event_id, partition, id, 1, 'order.placed', 1, $7, '', now()
    from unnest($1::uuid[], $4::uuid[], $5::smallint[]) as o (id, event_id, partition)
  )
  select id from recorded`;

/** So many orders in one statement, from arrays. What is done are orders. */
export async function orderBatchJob(options: OrdersSqlOptions & { readonly batch: number }): Promise<Job> {
  const { url, clients, lines, batch } = options;
  const { order, response } = sampleOrder(lines);
  const each = <T>(make: () => T) => Array.from({ length: batch }, make);
  return sqlJob(await openClients(url, clients, false), async (client) => {
    const ids = each(newId);
    const values = [
      ids,
      each(newId),
      each(randomUUID),
      each(newId),
      ids.map(partitionOf),
      Buffer.alloc(32, 1),
      response,
    ];
    const sums = [String(order.itemsMinor), String(order.totalMinor), lines];
    const { rowCount } = await send(client, "batch", BATCH, [...values, ...sums]);
    return rowCount ?? 0;
  });
}
