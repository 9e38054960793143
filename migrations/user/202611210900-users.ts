import type { Kysely } from "kysely";
import { sql } from "kysely";

const moment = sql`timestamptz(3)`;

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable("users")
    .addColumn("id", "uuid", (column) => column.notNull())
    .addColumn("email", "text", (column) => column.notNull())
    .addColumn("display_name", "text", (column) => column.notNull())
    .addColumn("state", "text", (column) => column.notNull())
    .addColumn("version", "integer", (column) => column.notNull())
    .addColumn("created_at", moment, (column) => column.notNull())
    .addColumn("updated_at", moment, (column) => column.notNull())
    .addPrimaryKeyConstraint("users_pkey", ["id"])
    .addCheckConstraint("users_state_check", sql`state in ('active', 'deactivated')`)
    .addCheckConstraint("users_version_check", sql`version > 0`)
    .execute();
  await sql`create unique index users_email_key on users (lower(email))`.execute(db);
  // ListUsers: the state filter in the order of the pages, and both sides of the prefix filter.
  await sql`create index users_state_id_idx on users (state, id)`.execute(db);
  await sql`create index users_email_prefix_idx on users (lower(email) text_pattern_ops)`.execute(db);
  await sql`create index users_display_name_prefix_idx on users (lower(display_name) text_pattern_ops)`.execute(db);

  await db.schema
    .createTable("idempotency_keys")
    .addColumn("scope", "text", (column) => column.notNull())
    .addColumn("method", "text", (column) => column.notNull())
    .addColumn("key", "text", (column) => column.notNull())
    .addColumn("request_hash", "bytea", (column) => column.notNull())
    .addColumn("response", "bytea", (column) => column.notNull())
    .addColumn("created_at", "timestamptz", (column) => column.notNull())
    .addPrimaryKeyConstraint("idempotency_keys_pkey", ["scope", "method", "key"])
    .execute();
  await db.schema.createIndex("idempotency_keys_created_at_idx").on("idempotency_keys").column("created_at").execute();
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropTable("idempotency_keys").execute();
  await db.schema.dropTable("users").execute();
}
