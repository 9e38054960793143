import { setTimeout as delay } from "node:timers/promises";
import type { Kysely } from "kysely";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { transaction } from "../../src/platform/database.ts";
import type { Group } from "../../src/platform/events/bus.ts";
import { newId } from "../../src/platform/id.ts";
import { until } from "../support/conditions.ts";
import type { OpenDatabase } from "../support/events.ts";
import { openOutbox, openTestDatabase, passwordChanged } from "../support/events.ts";
import { createEffects } from "../support/events-effects.ts";
import type { Replica } from "../support/events-replicas.ts";
import { createPostgresBus, startReplica } from "../support/events-replicas.ts";
import { rabbitmqIsInstalled, startOwnRabbitmq } from "../support/rabbitmq.ts";

/** `EVENT_COUNT=5000` is a quick slice of it. */
const count = Number(process.env["EVENT_COUNT"] ?? "50000");
const REPLICAS = 3;
const AGGREGATES = 1_000;
/** Changes of different aggregates in one transaction of the flood: emitting is not what is measured. */
const AT_ONCE = 50;
/** Events of the second part, one at a time, and milliseconds between them: the latency where nothing waits. */
const PACED = { events: 1_000, everyMs: 5 };
const LIMIT_MS = 270_000;

const group: Group = { name: "mailing", topics: ["user"] };
const drivers = [
  { driver: "postgres", isThere: true, open: createPostgresBus },
  { driver: "amqp", isThere: rabbitmqIsInstalled(), open: startOwnRabbitmq },
];

for (const { driver, isThere, open } of drivers) {
  if (!isThere)
    process.stdout.write(`${driver}: skipped, there is no RabbitMQ on this machine (Debian: rabbitmq-server)\n`);
  test.skipIf(!isThere)(`${String(REPLICAS)} replicas share ${String(count)} events over ${driver}`, async () => {
    await using place = await open();
    await using users = await openTestDatabase("user");
    await using mailing = await openTestDatabase("notification");
    await createEffects(mailing.db);
    const replicas = await Promise.all(
      Array.from({ length: REPLICAS }, () =>
        startReplica({
          busUrl: place.url,
          usersUrl: users.url,
          groups: [group],
          consumers: { mailing: mailing.url },
          leaseMs: 10_000,
        }),
      ),
    );
    await until(async () => (await holders(users.db)) === REPLICAS, 30_000);

    const ids = Array.from({ length: AGGREGATES }, () => newId());
    const began = performance.now();
    await flood(users, ids, replicas);
    const emitted = performance.now();
    await until(async () => (await effects(mailing.db)) >= count, LIMIT_MS);
    const seconds = (performance.now() - began) / 1_000;
    const flooded = await latency(users.db, mailing.db, 0);

    await pace(users, ids, replicas);
    await until(async () => (await effects(mailing.db)) >= count + PACED.events, 30_000);
    const paced = await latency(users.db, mailing.db, count);
    await until(async () => (await unpublished(users.db)) === 0, 30_000);
    const shares = await publishedBy(users.db);
    for (const replica of replicas) replica.kill("SIGTERM");
    expect(await Promise.all(replicas.map(({ exited }) => exited))).toEqual([0, 0, 0]);

    const found = await wrong(users.db, mailing.db);
    const lines = [
      `${driver}: ${String(count)} events, ${String(REPLICAS)} replicas, partitions ${shares.join("/")}`,
      `  lost ${String(found.lost)}, doubled ${String(found.doubled)}, out of order ${String(found.disordered)}`,
      `  ${(count / seconds).toFixed(0)} events/s (emitted at ${((count / (emitted - began)) * 1_000).toFixed(0)}/s)`,
      `  commit to effect: flooded median ${flooded.median} ms, p99 ${flooded.p99} ms;` +
        ` at ${String(1_000 / PACED.everyMs)}/s median ${paced.median} ms, p99 ${paced.p99} ms`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
    expect(found).toEqual({ lost: 0, doubled: 0, disordered: 0 });
    expect(shares).toHaveLength(REPLICAS);
  });
}

async function flood(users: OpenDatabase, ids: readonly string[], replicas: readonly Replica[]): Promise<void> {
  const outbox = openOutbox({ wake: () => replicas[0]?.wake() });
  let next = 0;
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      while (next < count) {
        const from = next;
        next += AT_ONCE;
        // In one order in all of them: emitters wait for each other, and do not deadlock.
        const own = Array.from(
          { length: Math.min(AT_ONCE, count - from) },
          (_, at) => ids[(from + at) % AGGREGATES] ?? "",
        );
        await transaction(users.db, async (trx) => {
          for (const id of own.toSorted()) await outbox.emit(trx, id, passwordChanged(id), new Date());
        });
      }
    }),
  );
}

async function pace(users: OpenDatabase, ids: readonly string[], replicas: readonly Replica[]): Promise<void> {
  const emitting: Promise<void>[] = [];
  for (let at = 0; at < PACED.events; at += 1) {
    const outbox = openOutbox({ wake: () => replicas[at % REPLICAS]?.wake() });
    const id = ids[at % AGGREGATES] ?? "";
    emitting.push(transaction(users.db, (trx) => outbox.emit(trx, id, passwordChanged(id), new Date())));
    await delay(PACED.everyMs);
  }
  await Promise.all(emitting);
}

async function numberOf(db: Kysely<unknown>, query: ReturnType<typeof sql<{ found: number }>>): Promise<number> {
  return (await query.execute(db)).rows[0]?.found ?? -1;
}

const effects = (db: Kysely<unknown>) => numberOf(db, sql`select count(*)::int as found from effects`);
const unpublished = (db: Kysely<unknown>) =>
  numberOf(db, sql`select count(*)::int as found from outbox where published_at is null`);
const holders = (db: Kysely<unknown>) =>
  numberOf(db, sql`select count(distinct owner)::int as found from relay_leases where expires_at > clock_timestamp()`);

/** How many partitions each replica holds. */
async function publishedBy(db: Kysely<unknown>): Promise<number[]> {
  const { rows } = await sql<{ held: number }>`
    select count(*)::int as held from relay_leases group by owner order by held desc
  `.execute(db);
  return rows.map(({ held }) => held);
}

/**
 * Milliseconds from the emit, right before the commit, to the end of the transaction with the effect, of all events after
 * the first so many. Both are taken on this machine: by the process that emits, and by Postgres.
 */
async function latency(users: Kysely<unknown>, consumer: Kysely<unknown>, after: number) {
  const { rows: emitted } = await sql<{ id: string; at: number }>`
    select id, extract(epoch from occurred_at)::float8 * 1000 as at from outbox order by position offset ${after}
  `.execute(users);
  const { rows: applied } = await sql<{ id: string; at: number }>`
    select id, extract(epoch from settled_at)::float8 * 1000 as at from inbox where state = 'applied'
  `.execute(consumer);
  const settled = new Map(applied.map(({ id, at }) => [id, at]));
  const sorted = emitted.map(({ id, at }) => (settled.get(id) ?? Number.NaN) - at).sort((a, b) => a - b);
  const quantile = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(0);
  return { median: quantile(0.5), p99: quantile(0.99) };
}

/** Compares what was emitted with what took effect. */
async function wrong(users: Kysely<unknown>, consumer: Kysely<unknown>) {
  const { rows: emitted } = await sql<{ id: string }>`select id from outbox`.execute(users);
  const { rows } = await sql<{ id: string; aggregate: string; sequence: number }>`
    select event_id as id, aggregate_id as aggregate, sequence::int as sequence from effects order by position
  `.execute(consumer);
  const ids = new Set(rows.map(({ id }) => id));
  const last = new Map<string, number>();
  let disordered = 0;
  for (const { aggregate, sequence } of rows) {
    if (sequence !== (last.get(aggregate) ?? 0) + 1) disordered += 1;
    last.set(aggregate, sequence);
  }
  return { lost: emitted.filter(({ id }) => !ids.has(id)).length, doubled: rows.length - ids.size, disordered };
}
