import { Client } from "pg";
import { expect, test } from "vitest";
import { createEmptyDatabase } from "../../tests/support/postgres.ts";
import { dumpSchema } from "./schema-dump.ts";

const SCHEMA = `
create extension pg_trgm;
create type mood as enum ('good', 'so, so');
create domain sku as text constraint sku_check check (value ~ '^[A-Z]+$');
create sequence tickets start 100;
create table kysely_migration (name text);
create schema side;
create table side.ledger (id bigint generated always as identity primary key);
create table b_orders (
  id uuid constraint b_orders_pkey primary key default uuidv7(),
  "select" sku not null,
  state mood default 'good',
  total bigint not null constraint b_orders_total_check check (total >= 0),
  double_total bigint generated always as (total * 2) stored,
  at timestamptz(3) not null default now(),
  name varchar(40) collate "C",
  tags text[] not null default '{}',
  constraint b_orders_select_key unique ("select", total)
);
create table a_lines (order_id uuid not null, position int,
  constraint a_lines_order_fkey foreign key (order_id) references b_orders on delete cascade);
create index b_orders_name_idx on b_orders using gin (name gin_trgm_ops) where total > 0;
create unique index b_orders_lower_idx on b_orders (lower(name) desc);
create table parts (id int, day date, constraint parts_pkey primary key (id, day)) partition by range (day);
create table parts_2026 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create view big_orders as select id from b_orders where total > 100;
create function touch() returns trigger language plpgsql as $$ begin new.at := now(); return new; end $$;
create trigger b_orders_touch before update on b_orders for each row execute function touch();
`;

async function dumpOf(sql: string): Promise<string> {
  const database = await createEmptyDatabase();
  try {
    const client = new Client({ connectionString: database.url });
    await client.connect();
    await client.query(sql);
    await client.end();
    return await dumpSchema(database.url);
  } finally {
    await database.drop();
  }
}

test("the dump can be executed and yields itself, so it leaves nothing out that it can see", async () => {
  const dump = await dumpOf(SCHEMA);
  expect(await dumpOf(dump)).toBe(dump);
});

test("the dump reads as one would write it", async () => {
  const dump = await dumpOf(SCHEMA);
  expect(dump).toContain(`create table a_lines (
  order_id uuid not null,
  "position" integer
);`);
  for (const line of [
    "create type mood as enum ('good', 'so, so');",
    "  total bigint not null,",
    "  constraint b_orders_total_check CHECK (total >= 0)",
    "  double_total bigint generated always as (total * 2) stored,",
    "alter table a_lines add constraint a_lines_order_fkey FOREIGN KEY (order_id) REFERENCES b_orders(id) ON DELETE CASCADE;",
    "create table parts_2026 partition of parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');",
  ]) {
    expect(dump).toContain(line);
  }
  expect(dump).not.toContain("kysely");
  expect(dump).not.toContain("similarity");
});
