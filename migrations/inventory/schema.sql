-- The schema of inventorydb, written by scripts/dump-schema.ts; edit the migrations.

set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.refuse_movement_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      raise exception 'movements are append-only: % of % is refused', lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege';
    end
    $function$;

create table idempotency_keys (
  scope text not null,
  method text not null,
  key text not null,
  request_hash bytea not null,
  response bytea not null,
  created_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (scope, method, key)
);

create table locations (
  code text collate "C" not null,
  name text not null,
  priority integer not null,
  version integer default 1 not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint locations_pkey PRIMARY KEY (code),
  constraint locations_code_check CHECK (code <> ''::text),
  constraint locations_priority_check CHECK (priority >= 0),
  constraint locations_version_check CHECK (version > 0)
);

create table outbox (
  id uuid not null,
  "position" bigint generated always as identity not null,
  partition smallint not null,
  aggregate_id uuid not null,
  sequence bigint not null,
  type text not null,
  version integer not null,
  payload bytea not null,
  traceparent text not null,
  occurred_at timestamp(3) with time zone not null,
  published_at timestamp with time zone,
  published_by bigint,
  constraint outbox_pkey PRIMARY KEY (id),
  constraint outbox_aggregate_sequence_key UNIQUE (aggregate_id, sequence),
  constraint outbox_partition_check CHECK (partition >= 0 AND partition <= 15),
  constraint outbox_sequence_check CHECK (sequence > 0),
  constraint outbox_version_check CHECK (version > 0)
);

create table outbox_consumers (
  name text not null,
  since timestamp with time zone not null,
  declared boolean not null,
  constraint outbox_consumers_pkey PRIMARY KEY (name)
);

create table outbox_sequences (
  aggregate_id uuid not null,
  last bigint not null,
  pruned_at timestamp with time zone,
  constraint outbox_sequences_pkey PRIMARY KEY (aggregate_id),
  constraint outbox_sequences_last_check CHECK (last > 0)
);

create table relay_leases (
  partition smallint not null,
  token bigint not null,
  owner uuid,
  expires_at timestamp with time zone not null,
  constraint relay_leases_pkey PRIMARY KEY (partition),
  constraint relay_leases_partition_check CHECK (partition >= 0 AND partition <= 15)
);

create table relay_members (
  id uuid not null,
  seen_at timestamp with time zone not null,
  constraint relay_members_pkey PRIMARY KEY (id)
);

create table reservation_lines (
  order_id uuid not null,
  sku text collate "C" not null,
  location text collate "C" not null,
  quantity bigint not null,
  returned bigint default 0 not null,
  tracked boolean not null,
  constraint reservation_lines_pkey PRIMARY KEY (order_id, sku, location),
  constraint reservation_lines_quantity_check CHECK (quantity > 0),
  constraint reservation_lines_returned_check CHECK (returned >= 0 AND returned <= quantity),
  constraint reservation_lines_tracked_check CHECK (tracked = (location <> ''::text))
);

create table reservations (
  order_id uuid not null,
  state text not null,
  expires_at timestamp(3) with time zone,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint reservations_pkey PRIMARY KEY (order_id),
  constraint reservations_expires_at_check CHECK (state = 'RELEASED'::text OR expires_at IS NOT NULL),
  constraint reservations_state_check CHECK (state = ANY (ARRAY['HELD'::text, 'COMMITTED'::text, 'RELEASED'::text, 'EXPIRED'::text]))
);

create table stock_items (
  sku text collate "C" not null,
  id uuid not null,
  tracked boolean default true not null,
  low_stock_threshold bigint default 0 not null,
  version bigint default 1 not null,
  alert text default 'NONE'::text not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint stock_items_pkey PRIMARY KEY (sku),
  constraint stock_items_id_key UNIQUE (id),
  constraint stock_items_alert_check CHECK (alert = ANY (ARRAY['NONE'::text, 'LOW'::text, 'DEPLETED'::text])),
  constraint stock_items_low_stock_threshold_check CHECK (low_stock_threshold >= 0),
  constraint stock_items_version_check CHECK (version > 0)
);

create table stock_levels (
  sku text collate "C" not null,
  location text collate "C" not null,
  on_hand bigint default 0 not null,
  reserved bigint default 0 not null,
  backorder_limit bigint default 0 not null,
  constraint stock_levels_pkey PRIMARY KEY (sku, location),
  constraint stock_levels_backorder_limit_check CHECK (backorder_limit >= 0),
  constraint stock_levels_reserved_check CHECK (reserved >= 0 AND reserved <= (on_hand + backorder_limit))
);

create table stock_movements (
  id uuid not null,
  "position" bigint generated always as identity not null,
  order_id uuid,
  sku text collate "C" not null,
  location text collate "C" not null,
  kind text not null,
  delta bigint not null,
  on_hand bigint not null,
  reason text not null,
  actor text not null,
  occurred_at timestamp(3) with time zone not null,
  constraint stock_movements_pkey PRIMARY KEY (id),
  constraint stock_movements_position_key UNIQUE ("position"),
  constraint stock_movements_delta_check CHECK (delta <> 0),
  constraint stock_movements_kind_check CHECK (kind = ANY (ARRAY['RECEIPT'::text, 'SALE'::text, 'RETURN'::text, 'ADJUSTMENT'::text, 'TRANSFER'::text]))
);

create table stock_returns (
  return_id uuid not null,
  order_id uuid not null,
  digest bytea not null,
  created_at timestamp(3) with time zone not null,
  constraint stock_returns_pkey PRIMARY KEY (return_id)
);

alter table reservation_lines add constraint reservation_lines_order_fkey FOREIGN KEY (order_id) REFERENCES reservations(order_id);

alter table stock_levels add constraint stock_levels_location_fkey FOREIGN KEY (location) REFERENCES locations(code);

alter table stock_levels add constraint stock_levels_sku_fkey FOREIGN KEY (sku) REFERENCES stock_items(sku);

alter table stock_movements add constraint stock_movements_level_fkey FOREIGN KEY (sku, location) REFERENCES stock_levels(sku, location);

alter table stock_returns add constraint stock_returns_order_fkey FOREIGN KEY (order_id) REFERENCES reservations(order_id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX outbox_published_at_idx ON outbox USING btree (published_at);

CREATE INDEX outbox_unpublished_idx ON outbox USING btree (partition, "position") WHERE published_at IS NULL;

CREATE INDEX reservations_held_idx ON reservations USING btree (expires_at) WHERE state = 'HELD'::text;

CREATE INDEX stock_items_alert_idx ON stock_items USING btree (sku) WHERE alert <> 'NONE'::text;

CREATE INDEX stock_levels_location_idx ON stock_levels USING btree (location, sku);

CREATE INDEX stock_movements_location_idx ON stock_movements USING btree (location, "position");

CREATE INDEX stock_movements_order_idx ON stock_movements USING btree (order_id, "position") WHERE order_id IS NOT NULL;

CREATE INDEX stock_movements_sku_idx ON stock_movements USING btree (sku, "position");

CREATE TRIGGER stock_movements_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON stock_movements FOR EACH STATEMENT EXECUTE FUNCTION refuse_movement_change();
