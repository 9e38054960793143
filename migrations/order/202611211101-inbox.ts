import type { Kysely } from "kysely";
import { sql } from "kysely";

/**
 * The same in each role that consumes events; src/platform/events/ reads and writes it. `failed_at` is when the event was
 * given up, and stays when it is replayed or skipped.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table inbox (
      id uuid not null constraint inbox_pkey primary key,
      topic text not null,
      type text not null,
      aggregate_id uuid not null,
      sequence bigint not null constraint inbox_sequence_check check (sequence > 0),
      version integer not null,
      payload bytea not null,
      traceparent text not null,
      occurred_at timestamptz(3) not null,
      received_at timestamptz(3) not null,
      state text not null
        constraint inbox_state_check check (state in ('waiting', 'retrying', 'dead', 'applied', 'skipped')),
      attempts integer not null default 0,
      next_attempt_at timestamptz(3),
      error text,
      failed_at timestamptz(3),
      settled_at timestamptz(3),
      constraint inbox_aggregate_sequence_key unique (topic, aggregate_id, sequence),
      constraint inbox_next_attempt_check check ((state = 'retrying') = (next_attempt_at is not null)),
      constraint inbox_settled_check check ((state in ('applied', 'skipped')) = (settled_at is not null)),
      constraint inbox_failed_check check (state <> 'dead' or failed_at is not null)
    )
  `.execute(db);
  // What is due for another attempt, what waits behind it, what was given up, and what is old enough to be pruned.
  await sql`create index inbox_retrying_idx on inbox (next_attempt_at) where state = 'retrying'`.execute(db);
  await sql`
    create index inbox_waiting_idx on inbox (topic, aggregate_id, sequence) where state = 'waiting'
  `.execute(db);
  await sql`create index inbox_dead_idx on inbox (failed_at, id) where state = 'dead'`.execute(db);
  await sql`create index inbox_done_idx on inbox (settled_at) where state in ('applied', 'skipped')`.execute(db);

  // The last event of each aggregate that took effect, 0 before the first. It outlives the events.
  await sql`
    create table inbox_marks (
      topic text not null,
      aggregate_id uuid not null,
      applied bigint not null constraint inbox_marks_applied_check check (applied >= 0),
      constraint inbox_marks_pkey primary key (topic, aggregate_id)
    )
  `.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropTable("inbox_marks").execute();
  await db.schema.dropTable("inbox").execute();
}
