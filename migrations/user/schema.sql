-- The schema of userdb, written by scripts/dump-schema.ts; edit the migrations.

create table idempotency_keys (
  scope text not null,
  method text not null,
  key text not null,
  request_hash bytea not null,
  response bytea not null,
  created_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (scope, method, key)
);

create table users (
  id uuid not null,
  email text not null,
  display_name text not null,
  state text not null,
  version integer not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint users_pkey PRIMARY KEY (id),
  constraint users_state_check CHECK (state = ANY (ARRAY['active'::text, 'deactivated'::text])),
  constraint users_version_check CHECK (version > 0)
);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX users_display_name_prefix_idx ON users USING btree (lower(display_name) text_pattern_ops);

CREATE UNIQUE INDEX users_email_key ON users USING btree (lower(email));

CREATE INDEX users_email_prefix_idx ON users USING btree (lower(email) text_pattern_ops);

CREATE INDEX users_state_id_idx ON users USING btree (state, id);
