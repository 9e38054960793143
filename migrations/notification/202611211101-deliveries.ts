import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await createDeliveries(db);
  await createPreferences(db);
  await createMailbox(db);
  // Every role's database has it; the platform prunes it.
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

/** One message to one user. However often its event arrives, there is one; while it is sent, a lease says by whom. */
async function createDeliveries(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table deliveries (
      id uuid not null constraint deliveries_pkey primary key,
      event_id uuid not null,
      user_id uuid not null,
      channel text not null constraint deliveries_channel_check check (channel in ('email', 'sms', 'push')),
      topic text not null constraint deliveries_topic_check check (topic in ('account', 'orders', 'marketing')),
      template text not null,
      parameters jsonb not null,
      state text not null
        constraint deliveries_state_check check (state in ('pending', 'sent', 'failed', 'suppressed')),
      recipient text not null default '',
      attempts integer not null default 0 constraint deliveries_attempts_check check (attempts >= 0),
      error text not null default '',
      created_at timestamptz(3) not null,
      expires_at timestamptz(3) not null,
      next_attempt_at timestamptz(3),
      lease_token uuid,
      lease_until timestamptz(3),
      settled_at timestamptz(3),
      constraint deliveries_event_channel_template_key unique (event_id, channel, template),
      constraint deliveries_next_attempt_check check ((state = 'pending') = (next_attempt_at is not null)),
      constraint deliveries_settled_check check ((state = 'pending') = (settled_at is null)),
      constraint deliveries_lease_check check ((lease_token is null) = (lease_until is null))
    )
  `.execute(db);
  // What is due of a channel; a user's deliveries in the order of the pages; what is old enough to be pruned.
  await sql`
    create index deliveries_due_idx on deliveries (channel, next_attempt_at) where state = 'pending'
  `.execute(db);
  await sql`create index deliveries_user_id_idx on deliveries (user_id, id)`.execute(db);
  await sql`create index deliveries_created_at_idx on deliveries (created_at)`.execute(db);
}

/** What a user said; where there is no row the shop's own rule holds. */
async function createPreferences(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table preferences (
      user_id uuid not null,
      topic text not null constraint preferences_topic_check check (topic in ('orders', 'marketing')),
      channel text not null constraint preferences_channel_check check (channel in ('email', 'sms', 'push')),
      enabled boolean not null,
      updated_at timestamptz(3) not null,
      constraint preferences_pkey primary key (user_id, topic, channel)
    )
  `.execute(db);
}

/** Mails of a shop that is tried out, as they would have been sent. */
async function createMailbox(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table mailbox (
      id uuid not null constraint mailbox_pkey primary key,
      message_id text not null,
      sender text not null,
      recipient text not null,
      subject text not null,
      html text not null,
      body text not null,
      headers jsonb not null,
      created_at timestamptz(3) not null
    )
  `.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ["idempotency_keys", "mailbox", "preferences", "deliveries"]) {
    await db.schema.dropTable(table).execute();
  }
}
