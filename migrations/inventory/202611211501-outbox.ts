import type { Kysely } from "kysely";
import { sql } from "kysely";

/** The same in each role that emits events; src/platform/events/ reads and writes it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  // The position of an aggregate's events follows their sequence: it is drawn under the lock of outbox_sequences.
  await sql`
    create table outbox (
      id uuid not null constraint outbox_pkey primary key,
      position bigint not null generated always as identity,
      partition smallint not null constraint outbox_partition_check check (partition between 0 and 15),
      aggregate_id uuid not null,
      sequence bigint not null constraint outbox_sequence_check check (sequence > 0),
      type text not null,
      version integer not null constraint outbox_version_check check (version > 0),
      payload bytea not null,
      traceparent text not null,
      occurred_at timestamptz(3) not null,
      published_at timestamptz,
      published_by bigint,
      constraint outbox_aggregate_sequence_key unique (aggregate_id, sequence)
    )
  `.execute(db);
  // What is to be published, in order. Pruning, and what a new consumer gets again.
  await sql`
    create index outbox_unpublished_idx on outbox (partition, position) where published_at is null
  `.execute(db);
  await sql`create index outbox_published_at_idx on outbox (published_at)`.execute(db);

  // The last number of each aggregate. It outlives the events; pruned_at is when the newest one pruned was published.
  await sql`
    create table outbox_sequences (
      aggregate_id uuid not null constraint outbox_sequences_pkey primary key,
      last bigint not null constraint outbox_sequences_last_check check (last > 0),
      pruned_at timestamptz
    )
  `.execute(db);

  // Who was subscribed from when on; not declared: its subscription may not be there yet.
  await sql`
    create table outbox_consumers (
      name text not null constraint outbox_consumers_pkey primary key,
      since timestamptz not null,
      declared boolean not null
    )
  `.execute(db);

  await sql`
    create table relay_members (
      id uuid not null constraint relay_members_pkey primary key,
      seen_at timestamptz not null
    )
  `.execute(db);

  await sql`
    create table relay_leases (
      partition smallint not null constraint relay_leases_pkey primary key
        constraint relay_leases_partition_check check (partition between 0 and 15),
      token bigint not null,
      owner uuid,
      expires_at timestamptz not null
    )
  `.execute(db);
  await sql`
    insert into relay_leases (partition, token, owner, expires_at)
    select partition, 0, null, '-infinity' from generate_series(0, 15) as partition
  `.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ["relay_leases", "relay_members", "outbox_consumers", "outbox_sequences", "outbox"]) {
    await db.schema.dropTable(table).execute();
  }
}
