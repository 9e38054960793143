-- The schema of paymentdb, written by scripts/dump-schema.ts; edit the migrations.

set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.check_ledger_balance()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    declare
      booked uuid := coalesce(to_jsonb(new) ->> 'transaction_id', to_jsonb(new) ->> 'id');
    begin
      if not exists (select from ledger_entries where transaction_id = booked) or exists (
        select from ledger_entries where transaction_id = booked group by currency having sum(amount_minor) <> 0
      ) then
        raise exception 'ledger transaction % does not sum to zero', booked
          using errcode = 'check_violation', constraint = 'ledger_balance', table = tg_table_name;
      end if;
      return null;
    end $function$;

CREATE OR REPLACE FUNCTION public.refuse_ledger_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
    begin
      raise exception 'the ledger is append-only' using errcode = 'restrict_violation', table = tg_table_name;
    end $function$;

create table idempotency_keys (
  scope text not null,
  method text not null,
  key text not null,
  request_hash bytea not null,
  response bytea not null,
  created_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (scope, method, key)
);

create table ledger_entries (
  transaction_id uuid not null,
  account text not null,
  currency text not null,
  amount_minor bigint not null,
  constraint ledger_entries_pkey PRIMARY KEY (transaction_id, account, currency),
  constraint ledger_entries_amount_check CHECK (amount_minor <> 0),
  constraint ledger_entries_currency_check CHECK (currency ~ '^[A-Z]{3}$'::text)
);

create table ledger_transactions (
  id uuid not null,
  kind text not null,
  payment_id uuid not null,
  order_id uuid not null,
  operation_id uuid not null,
  occurred_at timestamp(3) with time zone not null,
  constraint ledger_transactions_pkey PRIMARY KEY (id),
  constraint ledger_transactions_operation_key UNIQUE (operation_id),
  constraint ledger_transactions_kind_check CHECK (kind = ANY (ARRAY['CAPTURE'::text, 'REFUND'::text]))
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

create table payment_methods (
  id uuid not null,
  user_id uuid not null,
  provider text not null,
  token text not null,
  brand text not null,
  last_digits text not null,
  expiry_month integer not null,
  expiry_year integer not null,
  created_at timestamp(3) with time zone not null,
  removed_at timestamp(3) with time zone,
  constraint payment_methods_pkey PRIMARY KEY (id),
  constraint payment_methods_expiry_month_check CHECK (expiry_month >= 0 AND expiry_month <= 12),
  constraint payment_methods_expiry_year_check CHECK (expiry_year >= 0),
  constraint payment_methods_token_check CHECK ((token = ''::text) = (removed_at IS NOT NULL))
);

create table payment_operations (
  id uuid not null,
  payment_id uuid not null,
  kind text not null,
  amount_minor bigint not null,
  state text default 'PENDING'::text not null,
  failure_code text default ''::text not null,
  reason text default ''::text not null,
  sends integer default 0 not null,
  tries integer default 0 not null,
  first_sent_at timestamp(3) with time zone,
  sending_until timestamp(3) with time zone,
  due_at timestamp(3) with time zone not null,
  created_at timestamp(3) with time zone not null,
  settled_at timestamp(3) with time zone,
  constraint payment_operations_pkey PRIMARY KEY (id),
  constraint payment_operations_amount_check CHECK (amount_minor > 0 OR kind = 'VOID'::text AND amount_minor = 0),
  constraint payment_operations_kind_check CHECK (kind = ANY (ARRAY['AUTHORIZE'::text, 'CAPTURE'::text, 'VOID'::text, 'REFUND'::text])),
  constraint payment_operations_sends_check CHECK (sends >= 0),
  constraint payment_operations_sent_check CHECK ((sends = 0) = (first_sent_at IS NULL)),
  constraint payment_operations_settled_check CHECK ((state = 'PENDING'::text) = (settled_at IS NULL)),
  constraint payment_operations_state_check CHECK (state = ANY (ARRAY['PENDING'::text, 'SUCCEEDED'::text, 'FAILED'::text])),
  constraint payment_operations_tries_check CHECK (tries >= 0)
);

create table payments (
  id uuid not null,
  order_id uuid not null,
  user_id uuid,
  currency text not null,
  amount_minor bigint not null,
  state text not null,
  authorized_minor bigint default 0 not null,
  captured_minor bigint default 0 not null,
  refunding_minor bigint default 0 not null,
  refunded_minor bigint default 0 not null,
  provider text not null,
  method_token text default ''::text not null,
  provider_reference text default ''::text not null,
  decline_code text default ''::text not null,
  capture_failure text default ''::text not null,
  redirect_url text default ''::text not null,
  problem text default ''::text not null,
  version integer default 1 not null,
  check_at timestamp(3) with time zone not null,
  look_at timestamp(3) with time zone,
  created_at timestamp(3) with time zone not null,
  updated_at timestamp(3) with time zone not null,
  constraint payments_pkey PRIMARY KEY (id),
  constraint payments_order_key UNIQUE (order_id),
  constraint payments_amount_check CHECK (amount_minor > 0 AND currency ~ '^[A-Z]{3}$'::text AND user_id IS NOT NULL OR amount_minor = 0 AND currency = ''::text AND user_id IS NULL AND state = 'VOIDED'::text),
  constraint payments_authorized_check CHECK (authorized_minor >= 0),
  constraint payments_captured_check CHECK (captured_minor >= 0 AND captured_minor <= authorized_minor),
  constraint payments_captured_state_check CHECK (captured_minor = 0 OR state = 'CAPTURED'::text),
  constraint payments_refundable_check CHECK ((refunded_minor + refunding_minor) <= captured_minor),
  constraint payments_refunded_check CHECK (refunded_minor >= 0),
  constraint payments_refunding_check CHECK (refunding_minor >= 0),
  constraint payments_state_check CHECK (state = ANY (ARRAY['PENDING'::text, 'REQUIRES_ACTION'::text, 'AUTHORIZED'::text, 'CAPTURED'::text, 'DECLINED'::text, 'VOIDED'::text])),
  constraint payments_version_check CHECK (version > 0)
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

create table webhook_events (
  provider text not null,
  id text not null,
  type text not null,
  payment_id uuid,
  received_at timestamp(3) with time zone not null,
  constraint webhook_events_pkey PRIMARY KEY (provider, id)
);

alter table ledger_entries add constraint ledger_entries_transaction_fkey FOREIGN KEY (transaction_id) REFERENCES ledger_transactions(id);

alter table ledger_transactions add constraint ledger_transactions_operation_fkey FOREIGN KEY (operation_id) REFERENCES payment_operations(id);

alter table ledger_transactions add constraint ledger_transactions_payment_fkey FOREIGN KEY (payment_id) REFERENCES payments(id);

alter table payment_operations add constraint payment_operations_payment_fkey FOREIGN KEY (payment_id) REFERENCES payments(id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX ledger_transactions_order_idx ON ledger_transactions USING btree (order_id, id DESC);

CREATE INDEX outbox_published_at_idx ON outbox USING btree (published_at);

CREATE INDEX outbox_unpublished_idx ON outbox USING btree (partition, "position") WHERE published_at IS NULL;

CREATE UNIQUE INDEX payment_methods_token_key ON payment_methods USING btree (user_id, provider, token) WHERE removed_at IS NULL;

CREATE INDEX payment_methods_user_idx ON payment_methods USING btree (user_id, id DESC) WHERE removed_at IS NULL;

CREATE INDEX payment_operations_due_idx ON payment_operations USING btree (due_at) WHERE state = 'PENDING'::text;

CREATE UNIQUE INDEX payment_operations_once_key ON payment_operations USING btree (payment_id, kind) WHERE kind <> 'REFUND'::text;

CREATE INDEX payment_operations_payment_idx ON payment_operations USING btree (payment_id, id);

CREATE INDEX payments_check_idx ON payments USING btree (check_at) WHERE state = ANY (ARRAY['AUTHORIZED'::text, 'CAPTURED'::text]);

CREATE INDEX payments_look_idx ON payments USING btree (look_at) WHERE look_at IS NOT NULL;

CREATE INDEX payments_problem_idx ON payments USING btree (id DESC) WHERE problem <> ''::text;

CREATE UNIQUE INDEX payments_reference_key ON payments USING btree (provider, provider_reference) WHERE provider_reference <> ''::text;

CREATE INDEX payments_user_idx ON payments USING btree (user_id, id DESC);

CREATE INDEX webhook_events_received_at_idx ON webhook_events USING btree (received_at);

CREATE TRIGGER ledger_entries_append_only BEFORE DELETE OR UPDATE ON ledger_entries FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();

CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_balance();

CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

CREATE TRIGGER ledger_transactions_append_only BEFORE DELETE OR UPDATE ON ledger_transactions FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();

CREATE CONSTRAINT TRIGGER ledger_transactions_balance AFTER INSERT ON ledger_transactions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_balance();

CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON ledger_transactions FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();
