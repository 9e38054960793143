-- The schema of notificationdb, written by scripts/dump-schema.ts; edit the migrations.

create table deliveries (
  id uuid not null,
  event_id uuid not null,
  user_id uuid not null,
  channel text not null,
  topic text not null,
  template text not null,
  parameters jsonb not null,
  state text not null,
  recipient text default ''::text not null,
  attempts integer default 0 not null,
  error text default ''::text not null,
  created_at timestamp(3) with time zone not null,
  expires_at timestamp(3) with time zone not null,
  next_attempt_at timestamp(3) with time zone,
  lease_token uuid,
  lease_until timestamp(3) with time zone,
  settled_at timestamp(3) with time zone,
  constraint deliveries_pkey PRIMARY KEY (id),
  constraint deliveries_event_channel_template_key UNIQUE (event_id, channel, template),
  constraint deliveries_attempts_check CHECK (attempts >= 0),
  constraint deliveries_channel_check CHECK (channel = ANY (ARRAY['email'::text, 'sms'::text, 'push'::text])),
  constraint deliveries_lease_check CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
  constraint deliveries_next_attempt_check CHECK ((state = 'pending'::text) = (next_attempt_at IS NOT NULL)),
  constraint deliveries_settled_check CHECK ((state = 'pending'::text) = (settled_at IS NULL)),
  constraint deliveries_state_check CHECK (state = ANY (ARRAY['pending'::text, 'sent'::text, 'failed'::text, 'suppressed'::text])),
  constraint deliveries_topic_check CHECK (topic = ANY (ARRAY['account'::text, 'orders'::text, 'marketing'::text]))
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

create table mailbox (
  id uuid not null,
  message_id text not null,
  sender text not null,
  recipient text not null,
  subject text not null,
  html text not null,
  body text not null,
  headers jsonb not null,
  created_at timestamp(3) with time zone not null,
  constraint mailbox_pkey PRIMARY KEY (id)
);

create table preferences (
  user_id uuid not null,
  topic text not null,
  channel text not null,
  enabled boolean not null,
  updated_at timestamp(3) with time zone not null,
  constraint preferences_pkey PRIMARY KEY (user_id, topic, channel),
  constraint preferences_channel_check CHECK (channel = ANY (ARRAY['email'::text, 'sms'::text, 'push'::text])),
  constraint preferences_topic_check CHECK (topic = ANY (ARRAY['orders'::text, 'marketing'::text]))
);

CREATE INDEX deliveries_created_at_idx ON deliveries USING btree (created_at);

CREATE INDEX deliveries_due_idx ON deliveries USING btree (channel, next_attempt_at) WHERE state = 'pending'::text;

CREATE INDEX deliveries_user_id_idx ON deliveries USING btree (user_id, id);

CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys USING btree (created_at);

CREATE INDEX inbox_dead_idx ON inbox USING btree (failed_at, id) WHERE state = 'dead'::text;

CREATE INDEX inbox_done_idx ON inbox USING btree (settled_at) WHERE state = ANY (ARRAY['applied'::text, 'skipped'::text]);

CREATE INDEX inbox_retrying_idx ON inbox USING btree (next_attempt_at) WHERE state = 'retrying'::text;

CREATE INDEX inbox_waiting_idx ON inbox USING btree (topic, aggregate_id, sequence) WHERE state = 'waiting'::text;
