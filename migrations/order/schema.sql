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

create table inbox (
  id uuid not null,
  topic text not null,
  type text not null,
  aggregate_id uuid not null,
  sequence bigint not null,
  version integer not null,
  payload bytea not null,
  traceparent text not null,
  occurred_at timestamp(3) with time zone not null,
  received_at timestamp(3) with time zone not null,
  state text not null,
  attempts integer default 0 not null,
  next_attempt_at timestamp(3) with time zone,
  error text,
  failed_at timestamp(3) with time zone,
  settled_at timestamp(3) with time zone,
  constraint inbox_pkey PRIMARY KEY (id),
  constraint inbox_aggregate_sequence_key UNIQUE (topic, aggregate_id, sequence),
  constraint inbox_failed_check CHECK (state <> 'dead'::text OR failed_at IS NOT NULL),
  constraint inbox_next_attempt_check CHECK ((state = 'retrying'::text) = (next_attempt_at IS NOT NULL)),
  constraint inbox_sequence_check CHECK (sequence > 0),
  constraint inbox_settled_check CHECK ((state = ANY (ARRAY['applied'::text, 'skipped'::text])) = (settled_at IS NOT NULL)),
  constraint inbox_state_check CHECK (state = ANY (ARRAY['waiting'::text, 'retrying'::text, 'dead'::text, 'applied'::text, 'skipped'::text]))
);

create table inbox_marks (
  topic text not null,
  aggregate_id uuid not null,
  applied bigint not null,
  constraint inbox_marks_pkey PRIMARY KEY (topic, aggregate_id),
  constraint inbox_marks_applied_check CHECK (applied >= 0)
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
  step text,
  message text default ''::text not null,
  constraint order_events_pkey PRIMARY KEY (order_id, "position"),
  constraint order_events_position_check CHECK ("position" > 0),
  constraint order_events_state_check CHECK (state = ANY (ARRAY['PENDING'::text, 'AWAITING_PAYMENT'::text, 'CONFIRMED'::text, 'FULFILLED'::text, 'DELIVERED'::text, 'REJECTED'::text, 'CANCELLED'::text])),
  constraint order_events_step_check CHECK (step = ANY (ARRAY['PLACED'::text, 'STOCK_RESERVED'::text, 'PAYMENT_ACTION_REQUIRED'::text, 'PAYMENT_AUTHORIZED'::text, 'STOCK_COMMITTED'::text, 'CONFIRMED'::text, 'PAYMENT_VOIDED'::text, 'STOCK_RELEASED'::text, 'REJECTED'::text, 'CANCEL_REQUESTED'::text, 'CANCELLED'::text, 'REFUND_REQUESTED'::text, 'REFUNDED'::text, 'REFUND_FAILED'::text, 'STOCK_RETURNED'::text, 'FULFILLED'::text, 'DELIVERED'::text]))
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

create table order_refunds (
  id uuid not null,
  order_id uuid not null,
  amount_minor bigint not null,
  state text not null,
  reason text not null,
  lines jsonb not null,
  restock boolean not null,
  failure_code text default ''::text not null,
  created_at timestamp(3) with time zone not null,
  settled_at timestamp(3) with time zone,
  constraint order_refunds_pkey PRIMARY KEY (id),
  constraint order_refunds_amount_check CHECK (amount_minor >= 0),
  constraint order_refunds_settled_check CHECK ((state = 'PENDING'::text) = (settled_at IS NULL)),
  constraint order_refunds_state_check CHECK (state = ANY (ARRAY['PENDING'::text, 'SUCCEEDED'::text, 'FAILED'::text]))
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
  payment_method_id uuid,
  cancel_requested boolean default false not null,
  refunds_minor bigint default 0 not null,
  constraint orders_pkey PRIMARY KEY (id),
  constraint orders_currency_check CHECK (currency ~ '^[A-Z]{3}$'::text),
  constraint orders_items_check CHECK (items_minor >= 0),
  constraint orders_refunds_check CHECK (refunds_minor >= 0 AND refunds_minor <= total_minor),
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

create table sagas (
  id uuid not null,
  order_id uuid not null,
  kind text not null,
  version integer not null,
  step text not null,
  outcome jsonb,
  attempts integer default 0 not null,
  step_since timestamp(3) with time zone not null,
  due_at timestamp with time zone not null,
  wakes integer default 0 not null,
  lease_token bigint default 0 not null,
  leased_until timestamp with time zone,
  created_at timestamp(3) with time zone not null,
  finished_at timestamp(3) with time zone,
  constraint sagas_pkey PRIMARY KEY (id),
  constraint sagas_kind_check CHECK (kind = ANY (ARRAY['CHECKOUT'::text, 'REFUND'::text, 'CANCEL'::text])),
  constraint sagas_lease_check CHECK (finished_at IS NULL OR leased_until IS NULL),
  constraint sagas_version_check CHECK (version > 0)
);

alter table order_adjustments add constraint order_adjustments_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

alter table order_events add constraint order_events_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

alter table order_lines add constraint order_lines_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

alter table order_refunds add constraint order_refunds_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

alter table sagas add constraint sagas_order_fkey FOREIGN KEY (order_id) REFERENCES orders(id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX inbox_dead_idx ON inbox USING btree (failed_at, id) WHERE state = 'dead'::text;

CREATE INDEX inbox_done_idx ON inbox USING btree (settled_at) WHERE state = ANY (ARRAY['applied'::text, 'skipped'::text]);

CREATE INDEX inbox_retrying_idx ON inbox USING btree (next_attempt_at) WHERE state = 'retrying'::text;

CREATE INDEX inbox_waiting_idx ON inbox USING btree (topic, aggregate_id, sequence) WHERE state = 'waiting'::text;

CREATE INDEX order_refunds_order_idx ON order_refunds USING btree (order_id, id);

CREATE INDEX orders_user_idx ON orders USING btree (user_id, id DESC);

CREATE INDEX outbox_published_at_idx ON outbox USING btree (published_at);

CREATE INDEX outbox_unpublished_idx ON outbox USING btree (partition, "position") WHERE published_at IS NULL;

CREATE INDEX sagas_due_idx ON sagas USING btree (due_at) WHERE finished_at IS NULL;

CREATE INDEX sagas_finished_idx ON sagas USING btree (finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX sagas_order_idx ON sagas USING btree (order_id) WHERE finished_at IS NULL;
