-- The schema of productdb, written by scripts/dump-schema.ts; edit the migrations.

create table categories (
  id uuid not null,
  parent_id uuid,
  name text not null,
  name_key text collate "C" not null,
  slug text collate "C" not null,
  "position" integer not null,
  version integer not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint categories_pkey PRIMARY KEY (id),
  constraint categories_slug_key UNIQUE (slug),
  constraint categories_parent_id_check CHECK (parent_id <> id),
  constraint categories_version_check CHECK (version > 0)
);

create table idempotency_keys (
  scope text not null,
  method text not null,
  key text not null,
  request_hash bytea not null,
  response bytea not null,
  created_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (scope, method, key)
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

create table products (
  id uuid not null,
  title text not null,
  description text not null,
  state text not null,
  category_id uuid,
  tax_category text not null,
  attributes jsonb not null,
  image_urls text[] not null,
  currency_code text not null,
  lowest_price_minor bigint not null,
  title_key text collate "C" not null,
  search tsvector not null,
  version integer not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint products_pkey PRIMARY KEY (id),
  constraint products_lowest_price_minor_check CHECK (lowest_price_minor >= 0),
  constraint products_state_check CHECK (state = ANY (ARRAY['active'::text, 'archived'::text])),
  constraint products_version_check CHECK (version > 0)
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

create table variants (
  sku text collate "C" not null,
  product_id uuid not null,
  "position" integer not null,
  options jsonb not null,
  price_minor bigint not null,
  attributes jsonb not null,
  retired_at timestamp(3) with time zone,
  constraint variants_pkey PRIMARY KEY (product_id, sku),
  constraint variants_price_minor_check CHECK (price_minor >= 0)
);

alter table categories add constraint categories_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES categories(id);

alter table products add constraint products_category_id_fkey FOREIGN KEY (category_id) REFERENCES categories(id);

alter table variants add constraint variants_product_id_fkey FOREIGN KEY (product_id) REFERENCES products(id);

CREATE INDEX categories_parent_id_idx ON categories USING btree (parent_id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX outbox_published_at_idx ON outbox USING btree (published_at);

CREATE INDEX outbox_unpublished_idx ON outbox USING btree (partition, "position") WHERE published_at IS NULL;

CREATE INDEX products_category_id_idx ON products USING btree (category_id, id);

CREATE INDEX products_price_idx ON products USING btree (lowest_price_minor, id) WHERE state = 'active'::text;

CREATE INDEX products_search_idx ON products USING gin (search);

CREATE INDEX products_title_idx ON products USING btree (title_key, id) WHERE state = 'active'::text;

CREATE INDEX products_updated_at_idx ON products USING btree (updated_at);

CREATE UNIQUE INDEX variants_sku_key ON variants USING btree (lower(sku));
