import type { Kysely } from "kysely";
import { sql } from "kysely";

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table users
      add column locale text not null default '',
      add column email_confirmed_at timestamptz(3)
  `.execute(db);

  // Whoever asks is answered before it is looked up whether there is such an account: the time would tell.
  await sql`
    create table password_reset_requests (
      id uuid not null constraint password_reset_requests_pkey primary key,
      email text not null,
      requested_at timestamptz(3) not null
    )
  `.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropTable("password_reset_requests").execute();
  await sql`alter table users drop column locale, drop column email_confirmed_at`.execute(db);
}
