import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table users
      add column roles text[] not null default '{}',
      add constraint users_roles_check check (roles <@ array['admin', 'support'])
  `.execute(db);
  // Whether another active admin is left.
  await sql`create index users_admins_idx on users (id) where 'admin' = any (roles) and state = 'active'`.execute(db);

  await sql`
    create table credentials (
      user_id uuid not null constraint credentials_pkey primary key
        constraint credentials_user_fkey references users (id),
      password_hash text not null constraint credentials_password_hash_check check (password_hash like '$argon2id$%'),
      version integer not null constraint credentials_version_check check (version > 0),
      changed_at timestamptz(3) not null
    )
  `.execute(db);

  await sql`
    create table sessions (
      id uuid not null constraint sessions_pkey primary key,
      user_id uuid not null constraint sessions_user_fkey references users (id),
      client text not null,
      created_at timestamptz(3) not null,
      last_used_at timestamptz(3) not null,
      expires_at timestamptz(3) not null,
      ended_at timestamptz(3)
    )
  `.execute(db);
  // The open sessions of a user, the oldest first: ids are UUIDv7.
  await sql`create index sessions_open_idx on sessions (user_id, id) where ended_at is null`.execute(db);
  // Pruning: what has ended by itself, and what was ended.
  await sql`create index sessions_expires_at_idx on sessions (expires_at)`.execute(db);
  await sql`create index sessions_ended_at_idx on sessions (ended_at) where ended_at is not null`.execute(db);

  await sql`
    create table refresh_tokens (
      hash bytea not null constraint refresh_tokens_pkey primary key
        constraint refresh_tokens_hash_check check (octet_length(hash) = 32),
      session_id uuid not null
        constraint refresh_tokens_session_fkey references sessions (id) on delete cascade,
      issued_at timestamptz(3) not null,
      used_at timestamptz(3)
    )
  `.execute(db);
  // At most one live token a session.
  await sql`create unique index refresh_tokens_live_key on refresh_tokens (session_id) where used_at is null`.execute(
    db,
  );
  // The tokens of a session that goes, and the used ones that are old.
  await sql`create index refresh_tokens_session_used_idx on refresh_tokens (session_id, used_at)`.execute(db);

  await sql`
    create table revocations (
      position bigint generated always as identity constraint revocations_pkey primary key,
      session_id uuid not null,
      at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index revocations_at_idx on revocations (at)`.execute(db);

  await sql`
    create table signing_keys (
      id uuid not null constraint signing_keys_pkey primary key,
      public_key bytea not null constraint signing_keys_public_key_check check (octet_length(public_key) = 32),
      private_key bytea not null,
      created_at timestamptz(3) not null,
      signs_from timestamptz(3) not null,
      signs_until timestamptz(3) not null,
      valid_until timestamptz(3) not null,
      constraint signing_keys_times_check check (signs_from < signs_until and signs_until < valid_until)
    )
  `.execute(db);

  await sql`
    create table login_throttle (
      key bytea not null constraint login_throttle_pkey primary key,
      full_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index login_throttle_full_at_idx on login_throttle (full_at)`.execute(db);

  await sql`
    create table addresses (
      id uuid not null constraint addresses_pkey primary key,
      user_id uuid not null constraint addresses_user_fkey references users (id),
      address jsonb not null,
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index addresses_user_idx on addresses (user_id, id)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of [
    "addresses",
    "login_throttle",
    "signing_keys",
    "revocations",
    "refresh_tokens",
    "sessions",
    "credentials",
  ]) {
    await db.schema.dropTable(table).execute();
  }
  await sql`drop index users_admins_idx`.execute(db);
  await sql`alter table users drop constraint users_roles_check, drop column roles`.execute(db);
}
