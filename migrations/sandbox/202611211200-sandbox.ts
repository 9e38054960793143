import type { Kysely } from "kysely";
import { sql } from "kysely";

/** The books of a payment provider for trying out: what it was asked for, what it did, and what it tells. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table payments (
      reference text not null constraint payments_pkey primary key,
      position bigint not null generated always as identity,
      payment_id text not null,
      order_id text not null,
      currency text not null,
      amount_minor bigint not null constraint payments_amount_check check (amount_minor > 0),
      captured_minor bigint not null default 0
        constraint payments_captured_check check (captured_minor between 0 and amount_minor),
      state text not null constraint payments_state_check check (state in (
        'requires_action', 'authorized', 'captured', 'voided', 'declined'
      )),
      decline_code text not null default '',
      method_token text not null,
      return_url text not null,
      created_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index payments_payment_id_idx on payments (payment_id)`.execute(db);
  await sql`create index payments_created_at_idx on payments (created_at)`.execute(db);

  await sql`
    create table refunds (
      key text not null constraint refunds_pkey primary key,
      reference text not null constraint refunds_payment_fkey references payments (reference),
      amount_minor bigint not null constraint refunds_amount_check check (amount_minor > 0),
      state text not null constraint refunds_state_check check (state in ('pending', 'succeeded', 'failed')),
      failure_code text not null default '',
      due_at timestamptz,
      created_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index refunds_reference_idx on refunds (reference)`.execute(db);
  await sql`create index refunds_pending_idx on refunds (due_at) where state = 'pending'`.execute(db);

  // What moved money or a hold of it, and by which call; never changed.
  await sql`
    create table journal (
      position bigint not null generated always as identity constraint journal_pkey primary key,
      kind text not null constraint journal_kind_check check (kind in (
        'authorization', 'decline', 'capture', 'void', 'refund'
      )),
      key text not null,
      reference text not null constraint journal_payment_fkey references payments (reference),
      amount_minor bigint not null,
      occurred_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index journal_reference_idx on journal (reference)`.execute(db);

  await sql`
    create table webhooks (
      position bigint not null generated always as identity constraint webhooks_pkey primary key,
      event_id uuid not null,
      type text not null,
      payment_id text not null,
      occurred_at timestamptz(3) not null,
      due_at timestamptz not null,
      attempts integer not null default 0,
      delivered_at timestamptz
    )
  `.execute(db);
  await sql`create index webhooks_due_idx on webhooks (due_at) where delivered_at is null`.execute(db);
  await sql`create index webhooks_delivered_idx on webhooks (delivered_at) where delivered_at is not null`.execute(db);

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
  await sql`drop table idempotency_keys, webhooks, journal, refunds, payments`.execute(db);
}
