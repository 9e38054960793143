-- The schema of gatewaydb, written by scripts/dump-schema.ts; edit the migrations.

set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.refuse_audit_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      raise exception 'the audit log is append-only: % of % is refused', lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege';
    end
    $function$;

create table api_keys (
  id uuid not null,
  name text not null,
  permissions text[] not null,
  secret_hash bytea not null,
  created_by text not null,
  created_at timestamp(3) with time zone not null,
  expires_at timestamp(3) with time zone,
  revoked_at timestamp(3) with time zone,
  last_used_at timestamp(3) with time zone,
  constraint api_keys_pkey PRIMARY KEY (id),
  constraint api_keys_secret_hash_check CHECK (length(secret_hash) = 32)
);

create table audit_chains (
  id uuid not null,
  gateway text not null,
  "position" bigint not null,
  hash bytea not null,
  constraint audit_chains_pkey PRIMARY KEY (id),
  constraint audit_chains_hash_check CHECK (length(hash) = 32),
  constraint audit_chains_position_check CHECK ("position" > 0)
);

create table audit_entries (
  chain uuid not null,
  "position" bigint not null,
  occurred_at timestamp(3) with time zone not null,
  subject text collate "C" not null,
  method text collate "C" not null,
  request_id text collate "C" not null,
  client_address text,
  phase text not null,
  code text,
  reason text,
  resource_ids jsonb not null,
  received bigint,
  sent bigint,
  hash bytea not null,
  constraint audit_entries_pkey PRIMARY KEY (chain, "position"),
  constraint audit_entries_code_check CHECK ((phase = 'outcome'::text) = (code IS NOT NULL)),
  constraint audit_entries_hash_check CHECK (length(hash) = 32),
  constraint audit_entries_phase_check CHECK (phase = ANY (ARRAY['intent'::text, 'outcome'::text])),
  constraint audit_entries_position_check CHECK ("position" > 0)
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

alter table audit_entries add constraint audit_entries_chain_fkey FOREIGN KEY (chain) REFERENCES audit_chains(id);

CREATE INDEX audit_entries_method_idx ON audit_entries USING btree (method, occurred_at, chain, "position");

CREATE INDEX audit_entries_occurred_at_idx ON audit_entries USING btree (occurred_at, chain, "position");

CREATE INDEX audit_entries_request_id_idx ON audit_entries USING btree (request_id);

CREATE INDEX audit_entries_subject_idx ON audit_entries USING btree (subject, occurred_at, chain, "position");

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE TRIGGER audit_chains_append_only BEFORE DELETE OR TRUNCATE ON audit_chains FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER audit_chains_grow BEFORE UPDATE ON audit_chains FOR EACH ROW WHEN (new.id <> old.id OR new.gateway <> old.gateway OR new."position" <= old."position") EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER audit_entries_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
