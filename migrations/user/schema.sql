-- The schema of userdb, written by scripts/dump-schema.ts; edit the migrations.

create table addresses (
  id uuid not null,
  user_id uuid not null,
  address jsonb not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint addresses_pkey PRIMARY KEY (id)
);

create table credentials (
  user_id uuid not null,
  password_hash text not null,
  version integer not null,
  changed_at timestamp(3) with time zone not null,
  constraint credentials_pkey PRIMARY KEY (user_id),
  constraint credentials_password_hash_check CHECK (password_hash ~~ '$argon2id$%'::text),
  constraint credentials_version_check CHECK (version > 0)
);

create table external_identities (
  id uuid not null,
  user_id uuid not null,
  provider text not null,
  issuer text not null,
  subject text not null,
  email text not null,
  created_at timestamp(3) with time zone not null,
  constraint external_identities_pkey PRIMARY KEY (id),
  constraint external_identities_issuer_subject_key UNIQUE (issuer, subject),
  constraint external_identities_user_issuer_key UNIQUE (user_id, issuer)
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

create table login_throttle (
  key bytea not null,
  full_at timestamp(3) with time zone not null,
  constraint login_throttle_pkey PRIMARY KEY (key)
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

create table password_reset_requests (
  id uuid not null,
  email text not null,
  requested_at timestamp(3) with time zone not null,
  constraint password_reset_requests_pkey PRIMARY KEY (id)
);

create table refresh_tokens (
  hash bytea not null,
  session_id uuid not null,
  issued_at timestamp(3) with time zone not null,
  used_at timestamp(3) with time zone,
  constraint refresh_tokens_pkey PRIMARY KEY (hash),
  constraint refresh_tokens_hash_check CHECK (octet_length(hash) = 32)
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

create table revocations (
  "position" bigint generated always as identity not null,
  session_id uuid not null,
  at timestamp(3) with time zone not null,
  constraint revocations_pkey PRIMARY KEY ("position")
);

create table sessions (
  id uuid not null,
  user_id uuid not null,
  client text not null,
  created_at timestamp(3) with time zone not null,
  last_used_at timestamp(3) with time zone not null,
  expires_at timestamp(3) with time zone not null,
  ended_at timestamp(3) with time zone,
  constraint sessions_pkey PRIMARY KEY (id)
);

create table signing_keys (
  id uuid not null,
  public_key bytea not null,
  private_key bytea not null,
  created_at timestamp(3) with time zone not null,
  signs_from timestamp(3) with time zone not null,
  signs_until timestamp(3) with time zone not null,
  valid_until timestamp(3) with time zone not null,
  constraint signing_keys_pkey PRIMARY KEY (id),
  constraint signing_keys_public_key_check CHECK (octet_length(public_key) = 32),
  constraint signing_keys_times_check CHECK (signs_from < signs_until AND signs_until < valid_until)
);

create table used_login_tokens (
  hash bytea not null,
  expires_at timestamp(3) with time zone not null,
  constraint used_login_tokens_pkey PRIMARY KEY (hash),
  constraint used_login_tokens_hash_check CHECK (octet_length(hash) = 32)
);

create table users (
  id uuid not null,
  email text not null,
  display_name text not null,
  state text not null,
  version integer not null,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  roles text[] default '{}'::text[] not null,
  locale text default ''::text not null,
  email_confirmed_at timestamp(3) with time zone,
  constraint users_pkey PRIMARY KEY (id),
  constraint users_roles_check CHECK (roles <@ ARRAY['admin'::text, 'support'::text]),
  constraint users_state_check CHECK (state = ANY (ARRAY['active'::text, 'deactivated'::text])),
  constraint users_version_check CHECK (version > 0)
);

alter table addresses add constraint addresses_user_fkey FOREIGN KEY (user_id) REFERENCES users(id);

alter table credentials add constraint credentials_user_fkey FOREIGN KEY (user_id) REFERENCES users(id);

alter table external_identities add constraint external_identities_user_fkey FOREIGN KEY (user_id) REFERENCES users(id);

alter table refresh_tokens add constraint refresh_tokens_session_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE;

alter table sessions add constraint sessions_user_fkey FOREIGN KEY (user_id) REFERENCES users(id);

CREATE INDEX addresses_user_idx ON addresses USING btree (user_id, id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX login_throttle_full_at_idx ON login_throttle USING btree (full_at);

CREATE INDEX outbox_published_at_idx ON outbox USING btree (published_at);

CREATE INDEX outbox_unpublished_idx ON outbox USING btree (partition, "position") WHERE published_at IS NULL;

CREATE UNIQUE INDEX refresh_tokens_live_key ON refresh_tokens USING btree (session_id) WHERE used_at IS NULL;

CREATE INDEX refresh_tokens_session_used_idx ON refresh_tokens USING btree (session_id, used_at);

CREATE INDEX revocations_at_idx ON revocations USING btree (at);

CREATE INDEX sessions_ended_at_idx ON sessions USING btree (ended_at) WHERE ended_at IS NOT NULL;

CREATE INDEX sessions_expires_at_idx ON sessions USING btree (expires_at);

CREATE INDEX sessions_open_idx ON sessions USING btree (user_id, id) WHERE ended_at IS NULL;

CREATE INDEX used_login_tokens_expires_at_idx ON used_login_tokens USING btree (expires_at);

CREATE INDEX users_admins_idx ON users USING btree (id) WHERE ('admin'::text = ANY (roles)) AND state = 'active'::text;

CREATE INDEX users_display_name_prefix_idx ON users USING btree (lower(display_name) text_pattern_ops);

CREATE UNIQUE INDEX users_email_key ON users USING btree (lower(email));

CREATE INDEX users_email_prefix_idx ON users USING btree (lower(email) text_pattern_ops);

CREATE INDEX users_state_id_idx ON users USING btree (state, id);
