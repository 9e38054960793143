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

CREATE INDEX products_category_id_idx ON products USING btree (category_id, id);

CREATE INDEX products_price_idx ON products USING btree (lowest_price_minor, id) WHERE state = 'active'::text;

CREATE INDEX products_search_idx ON products USING gin (search);

CREATE INDEX products_title_idx ON products USING btree (title_key, id) WHERE state = 'active'::text;

CREATE INDEX products_updated_at_idx ON products USING btree (updated_at);

CREATE UNIQUE INDEX variants_sku_key ON variants USING btree (lower(sku));
