import type { Kysely } from "kysely";
import { sql } from "kysely";
import { transaction } from "../database.ts";
import type { OutboxEvent } from "./envelope.ts";
import { PARTITIONS } from "./outbox.ts";

type Db = Kysely<unknown>;

/** The partitions that a relay holds, each with the fencing token of its lease. */
export type Leases = ReadonlyMap<number, bigint>;

/** Bytes of payloads that are read at once, and one event more. */
const MOST_BYTES = 8_000_000;

/**
 * Leases that expire may be claimed by every relay; the time is the database's. One that lasts longer than any does was
 * given before that clock was set back.
 */
function isFree(leaseMs: number) {
  return sql`(
    owner is null or expires_at < clock_timestamp() or expires_at > clock_timestamp() + ${leaseMs}::int * interval '3 ms'
  )`;
}

/**
 * Says that a relay lives, and gives it its fair share of the partitions: what it holds is renewed, what is over the
 * share is given back, what is free is claimed, with a new token. Members that are silent for a lease, or
 * of a time to come, do not count.
 */
export function balanceLeases(db: Db, member: string, leaseMs: number): Promise<Leases> {
  return transaction(db, async (trx) => {
    await sql`
      insert into relay_members (id, seen_at) values (${member}::uuid, clock_timestamp())
      on conflict (id) do update set seen_at = excluded.seen_at
    `.execute(trx);
    await sql`
      delete from relay_members where id in (
        select id from relay_members where seen_at not between
          clock_timestamp() - ${leaseMs}::int * interval '3 ms' and clock_timestamp() + ${leaseMs}::int * interval '1 ms'
        for update skip locked
      )
    `.execute(trx);
    const { rows: members } = await sql<{ id: string }>`
      select id from relay_members where seen_at between
        clock_timestamp() - ${leaseMs}::int * interval '1 ms' and clock_timestamp() + ${leaseMs}::int * interval '1 ms'
      order by id
    `.execute(trx);
    const { rows: held } = await sql<Lease>`
      update relay_leases set expires_at = clock_timestamp() + ${leaseMs}::int * interval '1 ms'
      where owner = ${member}::uuid returning partition, token
    `.execute(trx);
    const share = shareOf(
      members.map(({ id }) => id),
      member,
    );
    const kept = held.toSorted((a, b) => a.partition - b.partition).slice(0, share);
    if (held.length > share) {
      await sql`
        update relay_leases set owner = null, expires_at = '-infinity'
        where owner = ${member}::uuid and not (partition = any (${kept.map((lease) => lease.partition)}::smallint[]))
      `.execute(trx);
    }
    if (held.length < share) {
      const { rows: claimed } = await sql<Lease>`
        update relay_leases
        set owner = ${member}::uuid, token = token + 1,
          expires_at = clock_timestamp() + ${leaseMs}::int * interval '1 ms'
        where partition in (
          select partition from relay_leases where ${isFree(leaseMs)} order by partition
          limit ${share - held.length} for update skip locked
        )
        returning partition, token
      `.execute(trx);
      kept.push(...claimed);
    }
    return new Map(kept.map(({ partition, token }) => [partition, token]));
  });
}

interface Lease {
  readonly partition: number;
  readonly token: bigint;
}

/** Shares differ by one at most, and add up to all partitions. */
function shareOf(members: readonly string[], member: string): number {
  const rank = members.indexOf(member);
  return Math.floor(PARTITIONS / members.length) + (rank < PARTITIONS % members.length ? 1 : 0);
}

/** Lets other relays have the partitions at once. */
export async function releaseLeases(db: Db, member: string): Promise<void> {
  await sql`
    with gone as (delete from relay_members where id = ${member}::uuid)
    update relay_leases set owner = null, expires_at = '-infinity' where owner = ${member}::uuid
  `.execute(db);
}

export interface Unpublished {
  readonly events: readonly OutboxEvent[];
  /** Whether there are others behind them. */
  readonly more: boolean;
  /** Whether a partition waits for somebody to claim it. */
  readonly free: boolean;
}

/**
 * The oldest events of the partitions that are not published: the rows themselves, for a cursor would pass over what
 * commits late. In the order of positions, so an event of an aggregate never comes without those before it.
 *
 * A branch for each partition lets the server merge their indexes: where 200,000 events wait, 500 of them take 3 ms, and
 * 7 ms more with what is known of their predecessors; `partition = any (…)` sorts all 200,000: 54 ms.
 */
export async function selectUnpublished(
  db: Db,
  partitions: readonly number[],
  limit: number,
  leaseMs: number,
): Promise<Unpublished> {
  const columns = sql`
    id, position, partition, aggregate_id, sequence, type, version, payload, traceparent, occurred_at
  `;
  const branches = partitions.map(
    (partition) => sql`
      (select ${columns} from outbox where partition = ${partition}::smallint and published_at is null
       order by position limit ${limit})
    `,
  );
  if (branches.length === 0) branches.push(sql`(select ${columns} from outbox where false)`);
  const { rows } = await sql<UnpublishedRow>`
    with waiting as (
      select * from (${sql.join(branches, sql` union all `)}) as each_partition order by position limit ${limit}
    ),
    sized as (
      select *, count(*) over () as waiting,
        sum(octet_length(payload)) over (order by position) - octet_length(payload) as bytes_before
      from waiting
    )
    select picked.*, lease.free, coalesce(first.names, '{}') as first_for
    from (select exists (select from relay_leases where ${isFree(leaseMs)}) as free) lease
    left join sized picked on picked.bytes_before < ${MOST_BYTES}
    left join outbox before on before.aggregate_id = picked.aggregate_id and before.sequence = picked.sequence - 1
    left join outbox_sequences numbered on numbered.aggregate_id = picked.aggregate_id
    left join lateral (
      select array_agg(name order by name) as names from outbox_consumers
      where picked.sequence > 1
        and since > case when before.id is null then numbered.pruned_at else before.published_at end
    ) first on true
    order by picked.position
  `.execute(db);
  const events = rows.filter(({ id }) => id !== null);
  const waiting = Number(rows[0]?.waiting ?? 0n);
  return { events, more: waiting === limit || waiting > events.length, free: rows[0]?.free ?? false };
}

interface UnpublishedRow extends OutboxEvent {
  /** Null in the only row where nothing waits. */
  readonly id: string;
  readonly waiting: bigint | null;
  readonly free: boolean;
}

/**
 * Marks events as published, as far as the leases under which that was done still have their tokens. Answers the
 * partitions of which they have: the events of others are published again by whoever holds them now.
 */
export async function markPublished(db: Db, leases: Leases, ids: readonly string[]): Promise<ReadonlySet<number>> {
  const { rows } = await sql<{ partition: number }>`
    with held as (
      select lease.partition, lease.token from relay_leases lease
      join unnest(${[...leases.keys()]}::smallint[], ${[...leases.values()]}::bigint[]) as mine (partition, token)
        on lease.partition = mine.partition and lease.token = mine.token
      order by lease.partition for share of lease
    ),
    marked as (
      update outbox set published_at = clock_timestamp(), published_by = held.token from held
      where outbox.id = any (${ids}::uuid[]) and outbox.partition = held.partition and published_at is null
    )
    select partition from held
  `.execute(db);
  return new Set(rows.map(({ partition }) => partition));
}

/** Unpublished events, and the age of the oldest in seconds; 0 where there is none. */
export async function outboxLag(db: Db): Promise<{ readonly unpublished: number; readonly oldestSeconds: number }> {
  const { rows } = await sql<{ unpublished: bigint; oldest: number | null }>`
    select count(*) as unpublished, extract(epoch from clock_timestamp() - min(occurred_at))::float8 as oldest
    from outbox where published_at is null
  `.execute(db);
  return { unpublished: Number(rows[0]?.unpublished ?? 0n), oldestSeconds: Math.max(rows[0]?.oldest ?? 0, 0) };
}
