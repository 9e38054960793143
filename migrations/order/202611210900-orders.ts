import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table orders (
      id uuid not null constraint orders_pkey primary key,
      user_id uuid not null,
      state text not null constraint orders_state_check check (state in (
        'PENDING', 'AWAITING_PAYMENT', 'CONFIRMED', 'FULFILLED', 'DELIVERED', 'REJECTED', 'CANCELLED'
      )),
      reason text not null default '',
      reason_metadata jsonb not null default '{}',
      currency text not null constraint orders_currency_check check (currency ~ '^[A-Z]{3}$'),
      items_minor bigint not null constraint orders_items_check check (items_minor >= 0),
      total_minor bigint not null constraint orders_total_check check (total_minor >= 0),
      payment_method_token text,
      shipping_address jsonb,
      billing_address jsonb,
      next_action jsonb,
      expires_at timestamptz(3),
      version integer not null default 1 constraint orders_version_check check (version > 0),
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null
    )
  `.execute(db);
  // Orders of a user, newest first: ids are UUIDv7, so they sort by the time they were made.
  await sql`create index orders_user_idx on orders (user_id, id desc)`.execute(db);

  await sql`
    create table order_lines (
      order_id uuid not null constraint order_lines_order_fkey references orders (id),
      number integer not null constraint order_lines_number_check check (number > 0),
      sku text not null,
      product_id uuid not null,
      title text not null,
      options jsonb not null,
      unit_minor bigint not null constraint order_lines_unit_check check (unit_minor >= 0),
      quantity integer not null constraint order_lines_quantity_check check (quantity > 0),
      amount_minor bigint not null constraint order_lines_amount_check check (amount_minor = unit_minor * quantity),
      tax_category text not null,
      constraint order_lines_pkey primary key (order_id, number)
    )
  `.execute(db);

  await sql`
    create table order_adjustments (
      order_id uuid not null constraint order_adjustments_order_fkey references orders (id),
      number integer not null constraint order_adjustments_number_check check (number > 0),
      kind text not null constraint order_adjustments_kind_check check (kind in ('DISCOUNT', 'TAX', 'SHIPPING', 'FEE')),
      line_number integer not null,
      label text not null,
      amount_minor bigint not null,
      included boolean not null,
      source text not null,
      constraint order_adjustments_pkey primary key (order_id, number)
    )
  `.execute(db);

  await sql`
    create table order_events (
      order_id uuid not null constraint order_events_order_fkey references orders (id),
      position bigint not null constraint order_events_position_check check (position > 0),
      state text not null constraint order_events_state_check check (state in (
        'PENDING', 'AWAITING_PAYMENT', 'CONFIRMED', 'FULFILLED', 'DELIVERED', 'REJECTED', 'CANCELLED'
      )),
      reason text not null default '',
      reason_metadata jsonb not null default '{}',
      occurred_at timestamptz(3) not null,
      constraint order_events_pkey primary key (order_id, position)
    )
  `.execute(db);

  await sql`
    create table idempotency_keys (
      scope text not null,
      method text not null,
      key text not null,
      request_hash bytea not null,
      response bytea not null,
      created_at timestamptz not null,
      constraint idempotency_keys_pkey primary key (scope, method, key)
    )
  `.execute(db);
  await sql`create index idempotency_keys_created_at_idx on idempotency_keys (created_at)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table idempotency_keys, order_events, order_adjustments, order_lines, orders`.execute(db);
}
