-- The schema of orderdb, written by scripts/dump-schema.ts; edit the migrations.

create table idempotency_keys (
  scope text not null,
  method text not null,
  key text not null,
  request_hash bytea not null,
  response bytea not null,
  created_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (scope, method, key)
);

create table order_adjustments (
  order_id uuid not null,
  number integer not null,
  kind text not null,
  line_number integer not null,
  label text not null,
  amount_minor bigint not null,
  included boolean not null,
  source text not null,
  constraint order_adjustments_pkey PRIMARY KEY (order_id, number),
  constraint order_adjustments_kind_check CHECK (kind = ANY (ARRAY['DISCOUNT'::text, 'TAX'::text, 'SHIPPING'::text, 'FEE'::text])),
  constraint order_adjustments_number_check CHECK (number > 0)
);

create table order_events (
  order_id uuid not null,
  "position" bigint not null,
  state text not null,
  reason text default ''::text not null,
  reason_metadata jsonb default '{}'::jsonb not null,
  occurred_at timestamp(3) with time zone not null,
  constraint order_events_pkey PRIMARY KEY (order_id, "position"),
  constraint order_events_position_check CHECK ("position" > 0),
  constraint order_events_state_check CHECK (state = ANY (ARRAY['PENDING'::text, 'AWAITING_PAYMENT'::text, 'CONFIRMED'::text, 'FULFILLED'::text, 'DELIVERED'::text, 'REJECTED'::text, 'CANCELLED'::text]))
);

create table order_lines (
  order_id uuid not null,
  number integer not null,
  sku text not null,
  product_id uuid not null,
  title text not null,
  options jsonb not null,
  unit_minor bigint not null,
  quantity integer not null,
  amount_minor bigint not null,
  tax_category text not null,
  constraint order_lines_pkey PRIMARY KEY (order_id, number),
  constraint order_lines_amount_check CHECK (amount_minor = (unit_minor * quantity)),
  constraint order_lines_number_check CHECK (number > 0),
  constraint order_lines_quantity_check CHECK (quantity > 0),
  constraint order_lines_unit_check CHECK (unit_minor >= 0)
);

create table orders (
  id uuid not null,
  user_id uuid not null,
  state text not null,
  reason text default ''::text not null,
  reason_metadata jsonb default '{}'::jsonb not null,
  currency text not null,
  items_minor bigint not null,
  total_minor bigint not null,
  payment_method_token text,
  shipping_address jsonb,
  billing_address jsonb,
  next_action jsonb,
  expires_at timestamp(3) with time zone,
  version integer default 1 not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint orders_pkey PRIMARY KEY (id),
  constraint orders_currency_check CHECK (currency ~ '^[A-Z]{3}$'::text),
  constraint orders_items_check CHECK (items_minor >= 0),
  constraint orders_state_check CHECK (state = ANY (ARRAY['PENDING'::text, 'AWAITING_PAYMENT'::text, 'CONFIRMED'::text, 'FULFILLED'::text, 'DELIVERED'::text, 'REJECTED'::text, 'CANCELLED'::text])),
  constraint orders_total_check CHECK (total_minor >= 0),
  constraint orders_version_check CHECK (version > 0)
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

alter table order_adjustments add constraint order_adjustments_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

alter table order_events add constraint order_events_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

alter table order_lines add constraint order_lines_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX orders_user_idx ON orders USING btree (user_id, id DESC);

CREATE INDEX outbox_published_at_idx ON outbox USING btree (published_at);

CREATE INDEX outbox_unpublished_idx ON outbox USING btree (partition, "position") WHERE published_at IS NULL;
