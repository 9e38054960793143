import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { ArrivedEvent } from "./envelope.ts";

type Db = Kysely<unknown>;
type Trx = Transaction<unknown>;

export type EventState = "waiting" | "retrying" | "dead" | "applied" | "skipped";

/** What order is kept for. */
export interface Aggregate {
  readonly topic: string;
  readonly aggregateId: string;
}

/** An event of the inbox, stored or about to be. */
export interface InboxEvent extends Omit<ArrivedEvent, "firstFor"> {
  readonly stored: boolean;
  state: EventState;
  attempts: number;
  /** Whether the time of its next attempt has come; only of one that is retrying. */
  readonly due: boolean;
  error?: string;
  /** Milliseconds until the next attempt; only of one that has failed just now. */
  retryInMs?: number;
}

/** Stored events of an aggregate that are read at once; behind a parked one there may be any number. */
export const CHAIN = 100;

export function keyOf({ topic, aggregateId }: Aggregate): string {
  return `${topic}/${aggregateId}`;
}

/**
 * Locks the marks of aggregates in one order for all, so that no two batches wait for each other; those that are missing
 * are made, in the same order. Answers the last event of each that took effect.
 */
export async function lockMarks(trx: Trx, aggregates: readonly Aggregate[]): Promise<ReadonlyMap<string, bigint>> {
  const wanted = unnestAggregates(aggregates);
  await sql`
    insert into inbox_marks (topic, aggregate_id, applied)
    select topic, aggregate_id, 0 from ${wanted} order by topic, aggregate_id
    on conflict do nothing
  `.execute(trx);
  const { rows } = await sql<MarkRow>`
    select topic, aggregate_id, applied from inbox_marks join ${wanted} using (topic, aggregate_id)
    order by topic, aggregate_id for update of inbox_marks
  `.execute(trx);
  return marksOf(rows);
}

/** Like {@link lockMarks} without waiting: what another process works on is left out. */
export async function lockFreeMarks(trx: Trx, aggregates: readonly Aggregate[]): Promise<ReadonlyMap<string, bigint>> {
  const { rows } = await sql<MarkRow>`
    select topic, aggregate_id, applied from inbox_marks join ${unnestAggregates(aggregates)} using (topic, aggregate_id)
    order by topic, aggregate_id for update of inbox_marks skip locked
  `.execute(trx);
  return marksOf(rows);
}

interface MarkRow {
  readonly topic: string;
  readonly aggregate_id: string;
  readonly applied: bigint;
}

function marksOf(rows: readonly MarkRow[]): ReadonlyMap<string, bigint> {
  return new Map(rows.map((row) => [keyOf({ topic: row.topic, aggregateId: row.aggregate_id }), row.applied]));
}

function unnestAggregates(aggregates: readonly Aggregate[]) {
  const topics = aggregates.map(({ topic }) => topic);
  const ids = aggregates.map(({ aggregateId }) => aggregateId);
  return sql`unnest(${topics}::text[], ${ids}::uuid[]) as wanted (topic, aggregate_id)`;
}

/** Milliseconds further ahead than any attempt is put off: the clock has been set back since, and it is due. */
const AHEAD_MS = 120_000;

/** Milliseconds until the next attempt of an event; 0 or less: it is due. */
const dueInMs = sql`(
  case when next_attempt_at < clock_timestamp() + ${AHEAD_MS}::int * interval '1 ms'
    then extract(epoch from next_attempt_at - clock_timestamp())::float8 * 1000
    else 0
  end
)`;

/** Events of locked aggregates that came earlier and have not taken effect: the first hundred of each. */
export async function findStored(trx: Trx, aggregates: readonly Aggregate[]): Promise<InboxEvent[]> {
  const { rows } = await sql<StoredRow>`
    select stored.* from ${unnestAggregates(aggregates)} join inbox_marks mark using (topic, aggregate_id)
    cross join lateral (
      select id, topic, type, aggregate_id, sequence, version, payload, traceparent, occurred_at, state, attempts,
        ${dueInMs} <= 0 as due
      from inbox
      where inbox.topic = mark.topic and inbox.aggregate_id = mark.aggregate_id and sequence > mark.applied
      order by sequence limit ${CHAIN}
    ) stored
  `.execute(trx);
  return rows.map(({ aggregate_id: aggregateId, occurred_at: occurredAt, ...row }) => ({
    ...row,
    aggregateId,
    occurredAt,
    stored: true,
  }));
}

interface StoredRow extends Omit<InboxEvent, "aggregateId" | "occurredAt" | "stored"> {
  readonly aggregate_id: string;
  readonly occurred_at: Date;
}

/** Stores events as they have become, or changes them where they were stored before. */
export async function saveEvents(trx: Trx, events: readonly InboxEvent[]): Promise<void> {
  const isNew = events.filter(({ stored }) => !stored);
  for (const portion of portions(isNew)) await insertEvents(trx, portion);
  const known = events.filter(({ stored }) => stored);
  if (known.length > 0) await updateEvents(trx, known);
}

/** Bytes of payloads in one statement, which travel as text: 200 of 1 MiB at once took over the ten seconds it may. */
const PORTION_BYTES = 4_000_000;

function* portions(events: readonly InboxEvent[]): Generator<readonly InboxEvent[]> {
  let portion: InboxEvent[] = [];
  let bytes = 0;
  for (const event of events) {
    portion.push(event);
    bytes += event.payload.length;
    if (bytes < PORTION_BYTES) continue;
    yield portion;
    portion = [];
    bytes = 0;
  }
  if (portion.length > 0) yield portion;
}

/** One that is there already, further behind in its chain than was read, stays as it is. */
async function insertEvents(trx: Trx, events: readonly InboxEvent[]): Promise<void> {
  const column = <T>(value: (event: InboxEvent) => T): T[] => events.map(value);
  await sql`
    insert into inbox (
      id, topic, type, aggregate_id, sequence, version, payload, traceparent, occurred_at, received_at, state, attempts,
      next_attempt_at, error, failed_at, settled_at
    )
    select id, topic, type, aggregate_id, sequence, version, payload, traceparent, occurred_at, clock_timestamp(), state,
      attempts, ${nextAttempt}, error, case when state = 'dead' then clock_timestamp() end, ${settled}
    from unnest(
      ${column(({ id }) => id)}::uuid[], ${column(({ topic }) => topic)}::text[], ${column(({ type }) => type)}::text[],
      ${column(({ aggregateId }) => aggregateId)}::uuid[], ${column(({ sequence }) => sequence)}::bigint[],
      ${column(({ version }) => version)}::int[], ${column(({ payload }) => Buffer.from(payload))}::bytea[],
      ${column(({ traceparent }) => traceparent)}::text[], ${column(({ occurredAt }) => occurredAt)}::timestamptz[],
      ${column(({ state }) => state)}::text[], ${column(({ attempts }) => attempts)}::int[],
      ${column(({ retryInMs }) => retryInMs ?? null)}::int[], ${column(({ error }) => error ?? null)}::text[]
    ) as event (
      id, topic, type, aggregate_id, sequence, version, payload, traceparent, occurred_at, state, attempts,
      retry_in_ms, error
    )
    on conflict do nothing
  `.execute(trx);
}

async function updateEvents(trx: Trx, events: readonly InboxEvent[]): Promise<void> {
  await sql`
    update inbox
    set state = event.state, attempts = event.attempts, next_attempt_at = event.next_attempt_at,
      error = coalesce(event.error, inbox.error), settled_at = event.settled_at,
      failed_at = case when event.state = 'dead' then clock_timestamp() else inbox.failed_at end
    from (
      select id, state, attempts, error, ${nextAttempt} as next_attempt_at, ${settled} as settled_at
      from unnest(
        ${events.map(({ id }) => id)}::uuid[], ${events.map(({ state }) => state)}::text[],
        ${events.map(({ attempts }) => attempts)}::int[], ${events.map(({ retryInMs }) => retryInMs ?? null)}::int[],
        ${events.map(({ error }) => error ?? null)}::text[]
      ) as given (id, state, attempts, retry_in_ms, error)
    ) event
    where inbox.id = event.id
  `.execute(trx);
}

const nextAttempt = sql`case when state = 'retrying' then clock_timestamp() + retry_in_ms * interval '1 ms' end`;
const settled = sql`case when state in ('applied', 'skipped') then clock_timestamp() end`;

/** Moves the marks of locked aggregates. */
export async function moveMarks(trx: Trx, moved: readonly (Aggregate & { readonly applied: bigint })[]): Promise<void> {
  await sql`
    update inbox_marks mark set applied = moved.applied
    from unnest(
      ${moved.map(({ topic }) => topic)}::text[], ${moved.map(({ aggregateId }) => aggregateId)}::uuid[],
      ${moved.map(({ applied }) => applied)}::bigint[]
    ) as moved (topic, aggregate_id, applied)
    where mark.topic = moved.topic and mark.aggregate_id = moved.aggregate_id
  `.execute(trx);
}

/** Which topics, and their schemas up to which versions, a build can read. */
export type Known = readonly { readonly topic: string; readonly version: number }[];

function unnestKnown(known: Known) {
  const topics = known.map(({ topic }) => topic);
  return sql`unnest(${topics}::text[], ${known.map(({ version }) => version)}::int[]) as known (topic, newest)`;
}

/** Aggregates whose next event has failed before and can be read, those first whose attempt is due first. */
export async function listRetrying(
  db: Db,
  known: Known,
  limit: number,
): Promise<readonly (Aggregate & { /** Milliseconds; 0 or less: it is due. */ readonly inMs: number })[]> {
  const { rows } = await sql<Aggregate & { readonly inMs: number }>`
    select topic, aggregate_id as "aggregateId", ${dueInMs} as "inMs"
    from inbox join ${unnestKnown(known)} using (topic)
    where state = 'retrying' and version <= newest order by next_attempt_at limit ${limit}
  `.execute(db);
  return rows;
}

/**
 * Aggregates whose next event waits though nothing is before it: an older build did not know its version, or what was
 * before it has been skipped.
 */
export async function listReady(db: Db, known: Known, limit: number): Promise<readonly Aggregate[]> {
  const { rows } = await sql<Aggregate>`
    select topic, aggregate_id as "aggregateId" from inbox
    join inbox_marks mark using (topic, aggregate_id)
    join ${unnestKnown(known)} using (topic)
    where state = 'waiting' and sequence = mark.applied + 1 and version <= newest limit ${limit}
  `.execute(db);
  return rows;
}

/** How many events are there that have not taken effect. */
export interface Backlog {
  /** For an event before them, or for a newer build. */
  readonly waiting: number;
  readonly retrying: number;
  readonly dead: number;
}

export async function inboxBacklog(db: Db): Promise<Backlog> {
  const { rows } = await sql<{ waiting: bigint; retrying: bigint; dead: bigint }>`
    select (select count(*) from inbox where state = 'waiting') as waiting,
      (select count(*) from inbox where state = 'retrying') as retrying,
      (select count(*) from inbox where state = 'dead') as dead
  `.execute(db);
  const { waiting = 0n, retrying = 0n, dead = 0n } = rows[0] ?? {};
  return { waiting: Number(waiting), retrying: Number(retrying), dead: Number(dead) };
}
