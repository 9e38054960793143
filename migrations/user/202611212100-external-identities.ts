import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table external_identities (
      id uuid not null constraint external_identities_pkey primary key,
      user_id uuid not null constraint external_identities_user_fkey references users (id),
      provider text not null,
      issuer text not null,
      subject text not null,
      email text not null,
      created_at timestamptz(3) not null,
      constraint external_identities_issuer_subject_key unique (issuer, subject),
      constraint external_identities_user_issuer_key unique (user_id, issuer)
    )
  `.execute(db);

  // A token of a login at a provider holds all that belongs to the login; only that it was used is noted.
  await sql`
    create table used_login_tokens (
      hash bytea not null constraint used_login_tokens_pkey primary key
        constraint used_login_tokens_hash_check check (octet_length(hash) = 32),
      expires_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`create index used_login_tokens_expires_at_idx on used_login_tokens (expires_at)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropTable("used_login_tokens").execute();
  await db.schema.dropTable("external_identities").execute();
}
