import type { Kysely } from "kysely";
import { sql } from "kysely";

// SKUs and codes are locked and listed in one order on every server: by their bytes.
export async function up(db: Kysely<unknown>): Promise<void> {
  await createLocations(db);
  await createStock(db);
  await createReservations(db);
  await createMovements(db);
  await createIdempotencyKeys(db);
}

async function createLocations(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table locations (
      code text collate "C" not null constraint locations_pkey primary key
        constraint locations_code_check check (code <> ''),
      name text not null,
      priority integer not null constraint locations_priority_check check (priority >= 0),
      version integer not null default 1 constraint locations_version_check check (version > 0),
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null
    )
  `.execute(db);
  await sql`
    insert into locations (code, name, priority, created_at, updated_at) values ('main', 'Main', 0, now(), now())
  `.execute(db);
}

async function createStock(db: Kysely<unknown>): Promise<void> {
  // The row is the lock of all that is known of the SKU; alert is what was last announced.
  await sql`
    create table stock_items (
      sku text collate "C" not null constraint stock_items_pkey primary key,
      id uuid not null constraint stock_items_id_key unique,
      tracked boolean not null default true,
      low_stock_threshold bigint not null default 0
        constraint stock_items_low_stock_threshold_check check (low_stock_threshold >= 0),
      version bigint not null default 1 constraint stock_items_version_check check (version > 0),
      alert text not null default 'NONE'
        constraint stock_items_alert_check check (alert in ('NONE', 'LOW', 'DEPLETED')),
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null
    )
  `.execute(db);
  // ListStock of what is low.
  await sql`create index stock_items_alert_idx on stock_items (sku) where alert <> 'NONE'`.execute(db);

  await sql`
    create table stock_levels (
      sku text collate "C" not null constraint stock_levels_sku_fkey references stock_items (sku),
      location text collate "C" not null constraint stock_levels_location_fkey references locations (code),
      on_hand bigint not null default 0,
      reserved bigint not null default 0,
      backorder_limit bigint not null default 0
        constraint stock_levels_backorder_limit_check check (backorder_limit >= 0),
      constraint stock_levels_pkey primary key (sku, location),
      constraint stock_levels_reserved_check check (reserved >= 0 and reserved <= on_hand + backorder_limit)
    )
  `.execute(db);
  // ListStock of a location.
  await sql`create index stock_levels_location_idx on stock_levels (location, sku)`.execute(db);
}

async function createReservations(db: Kysely<unknown>): Promise<void> {
  // A release that comes before its reservation leaves a row without lines, and without a time to expire at.
  await sql`
    create table reservations (
      order_id uuid not null constraint reservations_pkey primary key,
      state text not null
        constraint reservations_state_check check (state in ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED')),
      expires_at timestamptz(3),
      created_at timestamptz(3) not null,
      updated_at timestamptz(3) not null,
      constraint reservations_expires_at_check check (state = 'RELEASED' or expires_at is not null)
    )
  `.execute(db);
  // What the sweeper looks for.
  await sql`create index reservations_held_idx on reservations (expires_at) where state = 'HELD'`.execute(db);

  // A line of a SKU that is not tracked is taken from no location.
  await sql`
    create table reservation_lines (
      order_id uuid not null constraint reservation_lines_order_fkey references reservations (order_id),
      sku text collate "C" not null,
      location text collate "C" not null,
      quantity bigint not null constraint reservation_lines_quantity_check check (quantity > 0),
      returned bigint not null default 0,
      tracked boolean not null,
      constraint reservation_lines_pkey primary key (order_id, sku, location),
      constraint reservation_lines_returned_check check (returned between 0 and quantity),
      constraint reservation_lines_tracked_check check (tracked = (location <> ''))
    )
  `.execute(db);

  // One effect per return; the digest tells another one with its id.
  await sql`
    create table stock_returns (
      return_id uuid not null constraint stock_returns_pkey primary key,
      order_id uuid not null constraint stock_returns_order_fkey references reservations (order_id),
      digest bytea not null,
      created_at timestamptz(3) not null
    )
  `.execute(db);
}

async function createMovements(db: Kysely<unknown>): Promise<void> {
  // The positions of one SKU follow its history: they are drawn under its lock.
  await sql`
    create table stock_movements (
      id uuid not null constraint stock_movements_pkey primary key,
      position bigint not null generated always as identity constraint stock_movements_position_key unique,
      order_id uuid,
      sku text collate "C" not null,
      location text collate "C" not null,
      kind text not null constraint stock_movements_kind_check check (
        kind in ('RECEIPT', 'SALE', 'RETURN', 'ADJUSTMENT', 'TRANSFER')
      ),
      delta bigint not null constraint stock_movements_delta_check check (delta <> 0),
      on_hand bigint not null,
      reason text not null,
      actor text not null,
      occurred_at timestamptz(3) not null,
      constraint stock_movements_level_fkey foreign key (sku, location) references stock_levels (sku, location)
    )
  `.execute(db);
  // The filters of ListMovements.
  await sql`create index stock_movements_sku_idx on stock_movements (sku, position)`.execute(db);
  await sql`create index stock_movements_location_idx on stock_movements (location, position)`.execute(db);
  await sql`
    create index stock_movements_order_idx on stock_movements (order_id, position) where order_id is not null
  `.execute(db);

  await sql`
    create function refuse_movement_change() returns trigger language plpgsql as $$
    begin
      raise exception 'movements are append-only: % of % is refused', lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege';
    end
    $$
  `.execute(db);
  await sql`
    create trigger stock_movements_append_only before update or delete or truncate on stock_movements
    for each statement execute function refuse_movement_change()
  `.execute(db);
}

async function createIdempotencyKeys(db: Kysely<unknown>): Promise<void> {
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
  for (const table of [
    "idempotency_keys",
    "stock_movements",
    "stock_returns",
    "reservation_lines",
    "reservations",
    "stock_levels",
    "stock_items",
    "locations",
  ]) {
    await db.schema.dropTable(table).execute();
  }
  await sql`drop function refuse_movement_change()`.execute(db);
}
