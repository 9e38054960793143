-- The schema of sandboxdb, written by scripts/dump-schema.ts; edit the migrations.

create table idempotency_keys (
  scope text not null,
  method text not null,
  key text not null,
  request_hash bytea not null,
  response bytea not null,
  created_at timestamp with time zone not null,
  constraint idempotency_keys_pkey PRIMARY KEY (scope, method, key)
);

create table journal (
  "position" bigint generated always as identity not null,
  kind text not null,
  key text not null,
  reference text not null,
  amount_minor bigint not null,
  occurred_at timestamp(3) with time zone not null,
  constraint journal_pkey PRIMARY KEY ("position"),
  constraint journal_kind_check CHECK (kind = ANY (ARRAY['authorization'::text, 'decline'::text, 'capture'::text, 'void'::text, 'refund'::text]))
);

create table payments (
  reference text not null,
  "position" bigint generated always as identity not null,
  payment_id text not null,
  order_id text not null,
  currency text not null,
  amount_minor bigint not null,
  captured_minor bigint default 0 not null,
  state text not null,
  decline_code text default ''::text not null,
  method_token text not null,
  return_url text not null,
  created_at timestamp(3) with time zone not null,
  constraint payments_pkey PRIMARY KEY (reference),
  constraint payments_amount_check CHECK (amount_minor > 0),
  constraint payments_captured_check CHECK (captured_minor >= 0 AND captured_minor <= amount_minor),
  constraint payments_state_check CHECK (state = ANY (ARRAY['requires_action'::text, 'authorized'::text, 'captured'::text, 'voided'::text, 'declined'::text]))
);

create table refunds (
  key text not null,
  reference text not null,
  amount_minor bigint not null,
  state text not null,
  failure_code text default ''::text not null,
  due_at timestamp with time zone,
  created_at timestamp(3) with time zone not null,
  constraint refunds_pkey PRIMARY KEY (key),
  constraint refunds_amount_check CHECK (amount_minor > 0),
  constraint refunds_state_check CHECK (state = ANY (ARRAY['pending'::text, 'succeeded'::text, 'failed'::text]))
);

create table webhooks (
  "position" bigint generated always as identity not null,
  event_id uuid not null,
  type text not null,
  payment_id text not null,
  occurred_at timestamp(3) with time zone not null,
  due_at timestamp with time zone not null,
  attempts integer default 0 not null,
  delivered_at timestamp with time zone,
  constraint webhooks_pkey PRIMARY KEY ("position")
);

alter table journal add constraint journal_payment_fkey FOREIGN KEY (reference) REFERENCES payments(reference);

alter table refunds add constraint refunds_payment_fkey FOREIGN KEY (reference) REFERENCES payments(reference);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX journal_reference_idx ON journal USING btree (reference);

CREATE INDEX payments_created_at_idx ON payments USING btree (created_at);

CREATE INDEX payments_payment_id_idx ON payments USING btree (payment_id);

CREATE INDEX refunds_pending_idx ON refunds USING btree (due_at) WHERE state = 'pending'::text;

CREATE INDEX refunds_reference_idx ON refunds USING btree (reference);

CREATE INDEX webhooks_delivered_idx ON webhooks USING btree (delivered_at) WHERE delivered_at IS NOT NULL;

CREATE INDEX webhooks_due_idx ON webhooks USING btree (due_at) WHERE delivered_at IS NULL;
