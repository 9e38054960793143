import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await createApiKeys(db);
  await createAudit(db);
  await protectAudit(db);
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

async function createApiKeys(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table api_keys (
      id uuid not null constraint api_keys_pkey primary key,
      name text not null,
      permissions text[] not null,
      -- SHA-256 of the secret; the secret itself is nowhere.
      secret_hash bytea not null constraint api_keys_secret_hash_check check (length(secret_hash) = 32),
      created_by text not null,
      created_at timestamptz(3) not null,
      expires_at timestamptz(3),
      revoked_at timestamptz(3),
      last_used_at timestamptz(3)
    )
  `.execute(db);
}

async function createAudit(db: Kysely<unknown>): Promise<void> {
  // A chain for each process of the gateway, with the position and the hash of its last entry.
  await sql`
    create table audit_chains (
      id uuid not null constraint audit_chains_pkey primary key,
      gateway text not null,
      position bigint not null constraint audit_chains_position_check check (position > 0),
      hash bytea not null constraint audit_chains_hash_check check (length(hash) = 32)
    )
  `.execute(db);
  await sql`
    create table audit_entries (
      chain uuid not null constraint audit_entries_chain_fkey references audit_chains (id),
      position bigint not null constraint audit_entries_position_check check (position > 0),
      occurred_at timestamptz(3) not null,
      subject text collate "C" not null,
      method text collate "C" not null,
      request_id text collate "C" not null,
      client_address text,
      phase text not null constraint audit_entries_phase_check check (phase in ('intent', 'outcome')),
      code text,
      reason text,
      resource_ids jsonb not null,
      received bigint,
      sent bigint,
      hash bytea not null constraint audit_entries_hash_check check (length(hash) = 32),
      constraint audit_entries_pkey primary key (chain, position),
      constraint audit_entries_code_check check ((phase = 'outcome') = (code is not null))
    )
  `.execute(db);
  // The orders of ListAuditEntries, by filter.
  await sql`create index audit_entries_occurred_at_idx on audit_entries (occurred_at, chain, position)`.execute(db);
  await sql`create index audit_entries_subject_idx on audit_entries (subject, occurred_at, chain, position)`.execute(
    db,
  );
  await sql`create index audit_entries_method_idx on audit_entries (method, occurred_at, chain, position)`.execute(db);
  await sql`create index audit_entries_request_id_idx on audit_entries (request_id)`.execute(db);
}

/** Entries are only added; a chain only grows. */
async function protectAudit(db: Kysely<unknown>): Promise<void> {
  await sql`
    create function refuse_audit_change() returns trigger language plpgsql as $$
    begin
      raise exception 'the audit log is append-only: % of % is refused', lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege';
    end
    $$
  `.execute(db);
  await sql`
    create trigger audit_entries_append_only before update or delete or truncate on audit_entries
    for each statement execute function refuse_audit_change()
  `.execute(db);
  await sql`
    create trigger audit_chains_append_only before delete or truncate on audit_chains
    for each statement execute function refuse_audit_change()
  `.execute(db);
  await sql`
    create trigger audit_chains_grow before update on audit_chains for each row
    when (new.id <> old.id or new.gateway <> old.gateway or new.position <= old.position)
    execute function refuse_audit_change()
  `.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of ["idempotency_keys", "audit_entries", "audit_chains", "api_keys"]) {
    await db.schema.dropTable(table).execute();
  }
  await sql`drop function refuse_audit_change()`.execute(db);
}
