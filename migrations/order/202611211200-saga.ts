import type { Kysely } from "kysely";
import { sql } from "kysely";

/** How an order is carried out, cancelled and paid back. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // refunds_minor is the sum of the refunds that have not failed.
  await sql`
    alter table orders
      add column payment_method_id uuid,
      add column cancel_requested boolean not null default false,
      add column refunds_minor bigint not null default 0,
      add constraint orders_refunds_check check (refunds_minor between 0 and total_minor)
  `.execute(db);

  // Rows of releases that knew no steps have none: theirs follows from the state.
  await sql`
    alter table order_events
      add column step text,
      add column message text not null default '',
      add constraint order_events_step_check check (step in (
        'PLACED', 'STOCK_RESERVED', 'PAYMENT_ACTION_REQUIRED', 'PAYMENT_AUTHORIZED', 'STOCK_COMMITTED', 'CONFIRMED',
        'PAYMENT_VOIDED', 'STOCK_RELEASED', 'REJECTED', 'CANCEL_REQUESTED', 'CANCELLED', 'REFUND_REQUESTED', 'REFUNDED',
        'REFUND_FAILED', 'STOCK_RETURNED', 'FULFILLED', 'DELIVERED'
      ))
  `.execute(db);

  await sql`
    create table order_refunds (
      id uuid not null constraint order_refunds_pkey primary key,
      order_id uuid not null constraint order_refunds_order_fkey references orders (id),
      amount_minor bigint not null constraint order_refunds_amount_check check (amount_minor >= 0),
      state text not null
        constraint order_refunds_state_check check (state in ('PENDING', 'SUCCEEDED', 'FAILED')),
      reason text not null,
      lines jsonb not null,
      restock boolean not null,
      failure_code text not null default '',
      created_at timestamptz(3) not null,
      settled_at timestamptz(3),
      constraint order_refunds_settled_check check ((state = 'PENDING') = (settled_at is null))
    )
  `.execute(db);
  await sql`create index order_refunds_order_idx on order_refunds (order_id, id)`.execute(db);

  // Work that is to be done, one row for each checkout (with the order's id), refund (with its id) and cancellation.
  // outcome is how the order is to end; wakes counts what came from outside while somebody held the lease. What is due now
  // is not rounded: it would be due in half a millisecond, and found a second later.
  await sql`
    create table sagas (
      id uuid not null constraint sagas_pkey primary key,
      order_id uuid not null constraint sagas_order_fkey references orders (id),
      kind text not null constraint sagas_kind_check check (kind in ('CHECKOUT', 'REFUND', 'CANCEL')),
      version integer not null constraint sagas_version_check check (version > 0),
      step text not null,
      outcome jsonb,
      attempts integer not null default 0,
      step_since timestamptz(3) not null,
      due_at timestamptz not null,
      wakes integer not null default 0,
      lease_token bigint not null default 0,
      leased_until timestamptz,
      created_at timestamptz(3) not null,
      finished_at timestamptz(3),
      constraint sagas_lease_check check (finished_at is null or leased_until is null)
    )
  `.execute(db);
  await sql`create index sagas_due_idx on sagas (due_at) where finished_at is null`.execute(db);
  await sql`create index sagas_order_idx on sagas (order_id) where finished_at is null`.execute(db);
  await sql`create index sagas_finished_idx on sagas (finished_at) where finished_at is not null`.execute(db);

  // What was recorded before there was a checkout is carried out now.
  await sql`
    insert into sagas (id, order_id, kind, version, step, step_since, due_at, created_at)
    select id, id, 'CHECKOUT', 1, 'RESERVE', now(), now(), now() from orders where state = 'PENDING'
  `.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table sagas, order_refunds`.execute(db);
  await sql`alter table order_events drop column step, drop column message`.execute(db);
  await sql`
    alter table orders drop column payment_method_id, drop column cancel_requested, drop column refunds_minor
  `.execute(db);
}
