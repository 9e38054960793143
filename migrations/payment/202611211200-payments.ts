import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  // One that is voided before it came has no user, no currency and no amount.
  await sql`
    create table payments (
      id uuid not null constraint payments_pkey primary key,
      order_id uuid not null constraint payments_order_key unique,
      user_id uuid,
      currency text not null,
      amount_minor bigint not null,
      state text not null constraint payments_state_check check (state in (
        'PENDING', 'REQUIRES_ACTION', 'AUTHORIZED', 'CAPTURED', 'DECLINED', 'VOIDED'
      )),
      authorized_minor bigint not null default 0 constraint payments_authorized_check check (authorized_minor >= 0),
      captured_minor bigint not null default 0
        constraint payments_captured_check check (captured_minor between 0 and authorized_minor),
      refunding_minor bigint not null default 0 constraint payments_refunding_check check (refunding_minor >= 0),
      refunded_minor bigint not null default 0 constraint payments_refunded_check check (refunded_minor >= 0),
      provider text not null,
      method_token text not null default '',
      provider_reference text not null default '',
      decline_code text not null default '',
      capture_failure text not null default '',
      redirect_url text not null default '',
      problem text not null default '',
      version integer not null default 1 constraint payments_version_check check (version > 0),
      check_at timestamptz(3) not null,
      look_at timestamptz(3),
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      constraint payments_amount_check check (
        (amount_minor > 0 and currency ~ '^[A-Z]{3}$' and user_id is not null)
        or (amount_minor = 0 and currency = '' and user_id is null and state = 'VOIDED')
      ),
      constraint payments_captured_state_check check (captured_minor = 0 or state = 'CAPTURED'),
      constraint payments_refundable_check check (refunded_minor + refunding_minor <= captured_minor)
    )
  `.execute(db);
  // One of the provider's is never two of ours.
  await sql`
    create unique index payments_reference_key on payments (provider, provider_reference)
    where provider_reference <> ''
  `.execute(db);
  // Payments of a user, newest first: ids are UUIDv7.
  await sql`create index payments_user_idx on payments (user_id, id desc)`.execute(db);
  await sql`create index payments_problem_idx on payments (id desc) where problem <> ''`.execute(db);
  await sql`create index payments_look_idx on payments (look_at) where look_at is not null`.execute(db);
  // Whose order is to be looked at next.
  await sql`create index payments_check_idx on payments (check_at) where state in ('AUTHORIZED', 'CAPTURED')`.execute(
    db,
  );

  // What the provider was asked for, or is to be; the id is the provider's key.
  await sql`
    create table payment_operations (
      id uuid not null constraint payment_operations_pkey primary key,
      payment_id uuid not null constraint payment_operations_payment_fkey references payments (id),
      kind text not null
        constraint payment_operations_kind_check check (kind in ('AUTHORIZE', 'CAPTURE', 'VOID', 'REFUND')),
      amount_minor bigint not null,
      state text not null default 'PENDING'
        constraint payment_operations_state_check check (state in ('PENDING', 'SUCCEEDED', 'FAILED')),
      failure_code text not null default '',
      reason text not null default '',
      sends integer not null default 0 constraint payment_operations_sends_check check (sends >= 0),
      tries integer not null default 0 constraint payment_operations_tries_check check (tries >= 0),
      first_sent_at timestamptz(3),
      sending_until timestamptz(3),
      due_at timestamptz(3) not null,
      created_at timestamptz(3) not null,
      settled_at timestamptz(3),
      constraint payment_operations_amount_check check (amount_minor > 0 or (kind = 'VOID' and amount_minor = 0)),
      constraint payment_operations_sent_check check ((sends = 0) = (first_sent_at is null)),
      constraint payment_operations_settled_check check ((state = 'PENDING') = (settled_at is null))
    )
  `.execute(db);
  await sql`
    create unique index payment_operations_once_key on payment_operations (payment_id, kind) where kind <> 'REFUND'
  `.execute(db);
  await sql`create index payment_operations_payment_idx on payment_operations (payment_id, id)`.execute(db);
  await sql`create index payment_operations_due_idx on payment_operations (due_at) where state = 'PENDING'`.execute(db);

  await sql`
    create table payment_methods (
      id uuid not null constraint payment_methods_pkey primary key,
      user_id uuid not null,
      provider text not null,
      token text not null,
      brand text not null,
      last_digits text not null,
      expiry_month integer not null
        constraint payment_methods_expiry_month_check check (expiry_month between 0 and 12),
      expiry_year integer not null constraint payment_methods_expiry_year_check check (expiry_year >= 0),
      created_at timestamptz(3) not null,
      removed_at timestamptz(3),
      constraint payment_methods_token_check check ((token = '') = (removed_at is not null))
    )
  `.execute(db);
  await sql`
    create unique index payment_methods_token_key on payment_methods (user_id, provider, token)
    where removed_at is null
  `.execute(db);
  await sql`
    create index payment_methods_user_idx on payment_methods (user_id, id desc) where removed_at is null
  `.execute(db);

  await sql`
    create table webhook_events (
      provider text not null,
      id text not null,
      type text not null,
      payment_id uuid,
      received_at timestamptz(3) not null,
      constraint webhook_events_pkey primary key (provider, id)
    )
  `.execute(db);
  await sql`create index webhook_events_received_at_idx on webhook_events (received_at)`.execute(db);

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
  for (const table of ["idempotency_keys", "webhook_events", "payment_methods", "payment_operations", "payments"]) {
    await db.schema.dropTable(table).execute();
  }
}
