import type { Pool, PoolClient } from "pg";
import type { JobInsert, PgBoss } from "pg-boss";
import { createPool } from "../database-pool.ts";
import { BOSS_SCHEMA, bossDb, createBoss } from "./bus-boss.ts";
import type { Carried } from "./bus-postgres-consumer.ts";
import { consumeQueue } from "./bus-postgres-consumer.ts";
import { createListener } from "./bus-postgres-listener.ts";
import type { Bus, BusMessage, BusOptions, Group, Subscription } from "./bus.ts";
import { BROADCAST_BYTES } from "./bus-limits.ts";
import { createOutage } from "./bus-outage.ts";
import type { Signal } from "./bus-signal.ts";
import { createSignal } from "./bus-signal.ts";

/** Announces the name of a queue with something new in it. */
const WAKE_CHANNEL = "commerce_bus_wake";
/** `<channel> <base64>`: of a broadcast. */
const BROADCAST_CHANNEL = "commerce_bus_broadcast";

/** The advisory lock between publishing (shared) and declaring (alone). */
const DECLARING = 5_020_112;

/** Connections for publishing, declaring and broadcasts. */
const POOL_SIZE = 4;
/** For pg-boss's own: what has one of those connections must not wait for another of them. */
const BOSS_POOL_SIZE = 2;
/** One for each group whose messages are being handled. */
const CONSUMING_POOL_SIZE = 50;

/** Messages of one insert, and bytes of their bodies: it travels as one text. */
const INSERT_MESSAGES = 500;
const INSERT_BYTES = 4_000_000;

/**
 * What pg-boss would do with a job in time, put off as far as it allows: some tool of pg-boss that an operator runs on
 * this schema shall not lose messages either.
 */
const QUEUE = { retryLimit: 2_147_483_647, retentionSeconds: 2_147_483_647, expireInSeconds: 86_400 } as const;

/** The bus on pg-boss: a queue for each group, a subscription for each of its topics. */
export function openPostgresBus({ url, name, log }: BusOptions): Bus {
  // The pool warns of each connection that is lost: here they are told of as one outage.
  const quiet = log.child({}, { level: "error" });
  const poolOf = (poolSize: number) =>
    createPool({ url, role: `${name}-bus`, poolSize, statementTimeoutMs: 10_000, log: quiet });
  const [pool, inner, consuming] = [poolOf(POOL_SIZE), poolOf(BOSS_POOL_SIZE), poolOf(CONSUMING_POOL_SIZE)];
  const outage = createOutage({ log, begins: "the bus does not answer", ends: "the bus answers again" });
  const rejections = createOutage({
    log,
    begins: "events could not be taken over; they come again",
    ends: "events are taken over again",
  });
  const signals = new Map<string, Set<Signal>>();
  const listeners = new Map<string, Set<(body: Uint8Array) => void>>();
  const subscriptions = new Set<Subscription>();
  let starting: Promise<PgBoss> | undefined;
  let closed: Promise<void> | undefined;

  const listener = createListener({
    url,
    name,
    channels: [WAKE_CHANNEL, BROADCAST_CHANNEL],
    outage,
    listening() {
      for (const signal of [...signals.values()].flatMap((set) => [...set])) signal.wake();
    },
    notified(channel, payload) {
      if (channel === WAKE_CHANNEL) for (const signal of signals.get(payload) ?? []) signal.wake();
      else hear(payload);
    },
  });

  function hear(payload: string): void {
    const space = payload.indexOf(" ");
    const channel = payload.slice(0, space);
    const body = Buffer.from(payload.slice(space + 1), "base64");
    for (const heard of listeners.get(channel) ?? []) {
      try {
        heard(body);
      } catch (error) {
        log.error({ err: error, channel }, "a listener of a broadcast threw");
      }
    }
  }

  /** pg-boss, started; the next call tries again where that fails. */
  function started(): Promise<PgBoss> {
    starting ??= start(inner, (error) => {
      log.debug({ err: error }, "pg-boss failed in the background");
    }).catch((error: unknown) => {
      starting = undefined;
      throw error;
    });
    return starting;
  }

  async function declare(groups: readonly Group[]): Promise<void> {
    const boss = await started();
    const names = groups.map((group) => group.name);
    const queues = new Set((await boss.getQueues(names)).map((queue) => queue.name));
    for (const group of names) if (!queues.has(group)) await boss.createQueue(group, QUEUE);
    const { rows } = await pool.query<{ event: string; name: string }>(
      `select event, name from ${BOSS_SCHEMA}.subscription where name = any($1)`,
      [names],
    );
    const there = new Set(rows.map((row) => `${row.event} ${row.name}`));
    const missing = groups.flatMap((group) =>
      group.topics
        .filter((topic) => !there.has(`${topic} ${group.name}`))
        .map((topic) => ({ topic, name: group.name })),
    );
    if (missing.length === 0) return;
    // Whoever publishes without having seen them is waited for: the group gets all that is published from now on.
    await within(pool, async (client) => {
      await client.query("select pg_advisory_xact_lock($1)", [DECLARING]);
      for (const { topic, name: group } of missing) await boss.subscribe(topic, group);
    });
  }

  async function publish(messages: readonly BusMessage[]): Promise<void> {
    if (messages.length === 0) return;
    const boss = await started();
    await within(pool, async (client) => {
      await client.query("select pg_advisory_xact_lock_shared($1)", [DECLARING]);
      const topics = [...new Set(messages.map(({ topic }) => topic))];
      const { rows: subscribed } = await client.query<{ event: string; name: string }>(
        `select event, name from ${BOSS_SCHEMA}.subscription where event = any($1) order by name, event`,
        [topics],
      );
      const queues = [...new Set(subscribed.map((row) => row.name))];
      if (queues.length === 0) return;
      // Inserting what a consumer is deleting would wait for it: leave out what is there, it is published already.
      const { rows: known } = await client.query<{ id: string; name: string }>(
        `select id, name from ${BOSS_SCHEMA}.job where name = any($1) and id = any($2::uuid[])`,
        [queues, messages.map(({ id }) => id)],
      );
      const there = new Set(known.map((row) => `${row.id} ${row.name}`));
      for (const queue of queues) {
        const wanted = new Set(subscribed.filter((row) => row.name === queue).map((row) => row.event));
        const ours = messages.filter(({ id, topic }) => wanted.has(topic) && !there.has(`${id} ${queue}`));
        for (const jobs of inserts(ours)) await boss.insert(queue, jobs, { db: bossDb(client) });
      }
      await client.query("select pg_notify($1, name) from unnest($2::text[]) name", [WAKE_CHANNEL, queues]);
    });
  }

  /** Keeps what an unfinished subscription needs until it is closed. */
  function subscription(close: () => Promise<void>): Subscription {
    const made = {
      async close() {
        subscriptions.delete(made);
        await close();
      },
    };
    subscriptions.add(made);
    return made;
  }

  return {
    declare,
    publish,
    consume(group, { batch, handle }) {
      const signal = createSignal();
      add(signals, group.name, signal);
      listener.start();
      let declared = false;
      const consumer = consumeQueue({
        group,
        batch,
        handle,
        signal,
        outage,
        rejections,
        pool: consuming,
        ready: async () => {
          if (!declared) await declare([{ ...group, topics: [] }]);
          declared = true;
          return started();
        },
      });
      return subscription(async () => {
        await consumer.close();
        remove(signals, group.name, signal);
      });
    },
    async broadcast(channel, body) {
      try {
        if (body.length > BROADCAST_BYTES)
          throw new RangeError(`A broadcast of ${String(body.length)} bytes is too long.`);
        const payload = `${channel} ${Buffer.from(body).toString("base64")}`;
        await pool.query("select pg_notify($1, $2)", [BROADCAST_CHANNEL, payload]);
      } catch (error) {
        log.debug({ err: error, channel }, "a broadcast was lost");
      }
    },
    listen(channel, heard) {
      add(listeners, channel, heard);
      listener.start();
      return subscription(() => {
        remove(listeners, channel, heard);
        return Promise.resolve();
      });
    },
    close: () =>
      (closed ??= (async () => {
        await Promise.all([...subscriptions].map((open) => open.close()));
        await listener.close();
        const boss = await starting?.catch(() => undefined);
        await boss?.stop({ graceful: false });
        await Promise.all([pool, inner, consuming].map((each) => each.end()));
      })()),
  };
}

/** @throws Error that says what to do where the schema is missing or of another version. */
async function start(pool: Pool, failed: (error: unknown) => void): Promise<PgBoss> {
  let failure: unknown;
  const watched = {
    query: (text: string, values?: unknown[]) =>
      pool.query(text, values).catch((error: unknown) => {
        failure ??= error;
        throw error;
      }),
  };
  const boss = await createBoss(watched, false, failed);
  try {
    await boss.start();
    // pg-boss passes over a connection that is lost while it reads its queues, and is of no use then.
    if (failure !== undefined) throw new Error("the connection was lost while pg-boss started", { cause: failure });
    return boss;
  } catch (error) {
    await boss.stop({ graceful: false }).catch(() => undefined);
    if (!(error instanceof Error) || !/not installed|requires migrations/.test(error.message)) throw error;
    throw new Error(`The bus's database is not migrated (npm run migrate -- events): ${error.message}`, {
      cause: error,
    });
  }
}

/** Runs `work` in a transaction. */
async function within(pool: Pool, work: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  let committed = false;
  try {
    await client.query("begin");
    await work(client);
    await client.query("commit");
    committed = true;
  } finally {
    // One that failed goes, and with it its transaction.
    client.release(!committed);
  }
}

/**
 * Messages as pg-boss inserts them, in portions. Sorted by id: two processes that publish the same ones wait for each
 * other's rows in the same order.
 */
function* inserts(messages: readonly BusMessage[]): Generator<JobInsert<Carried>[]> {
  const byId = new Map(messages.map((message) => [message.id, message]));
  let jobs: JobInsert<Carried>[] = [];
  let bytes = 0;
  for (const [id, { body }] of [...byId].sort(([a], [b]) => (a < b ? -1 : 1))) {
    jobs.push({ id, data: { body: Buffer.from(body).toString("base64") } });
    bytes += body.length;
    if (jobs.length < INSERT_MESSAGES && bytes < INSERT_BYTES) continue;
    yield jobs;
    jobs = [];
    bytes = 0;
  }
  if (jobs.length > 0) yield jobs;
}

function add<T>(sets: Map<string, Set<T>>, key: string, value: T): void {
  sets.set(key, (sets.get(key) ?? new Set()).add(value));
}

function remove<T>(sets: Map<string, Set<T>>, key: string, value: T): void {
  const set = sets.get(key);
  set?.delete(value);
  if (set?.size === 0) sets.delete(key);
}
