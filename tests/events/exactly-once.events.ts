import { sql } from "kysely";
import { Client } from "pg";
import { expect, test } from "vitest";
import { transaction } from "../../src/platform/database.ts";
import type { Group } from "../../src/platform/events/bus.ts";
import { openBus } from "../../src/platform/events/bus.ts";
import { startInbox } from "../../src/platform/events/inbox.ts";
import { newId } from "../../src/platform/id.ts";
import { withChaos } from "../support/chaos-bus.ts";
import { until } from "../support/conditions.ts";
import type { OpenDatabase } from "../support/events.ts";
import { openOutbox, openTestDatabase, passwordChanged, silent } from "../support/events.ts";
import { createEffects, effectConsumer, listEffects } from "../support/events-effects.ts";
import { randomOf, wholeOf } from "../support/events-random.ts";
import { createPostgresBus, keepReplica } from "../support/events-replicas.ts";

/** How many seeds, and the first one: `EVENT_SEED=7 EVENT_SEEDS=1` repeats one. */
const seeds = Number(process.env["EVENT_SEEDS"] ?? "20");
const firstSeed = Number(process.env["EVENT_SEED"] ?? "1");

const AGGREGATES = 12;
/** Emitted before and after a relay is stopped for a while. */
const EVENTS = 200;
/** Relays in processes of their own; each step of publishing a batch kills one with this probability, so many times. */
const RELAYS = 2;
const KILL = 0.15;
const KILLS = 4;
const LEASE_MS = 600;
const trouble = { duplicate: 0.3, drop: 0.2, reorder: 50 };

const groups: Group[] = [
  { name: "mailing", topics: ["user"] },
  { name: "counting", topics: ["user"] },
];

test.each(Array.from({ length: seeds }, (_, index) => firstSeed + index))(
  "seed %i: relays are killed, messages are doubled, reordered and dropped",
  async (seed) => {
    const random = randomOf(seed);
    await using place = await createPostgresBus();
    await using users = await openTestDatabase("user");
    await using mailing = await openTestDatabase("notification");
    await using counting = await openTestDatabase("notification");
    const databases: Readonly<Record<string, OpenDatabase>> = { mailing, counting };
    for (const { db } of Object.values(databases)) await createEffects(db);

    const relays = await Promise.all(
      Array.from({ length: RELAYS }, (_, relay) =>
        keepReplica((start) => ({
          busUrl: place.url,
          usersUrl: users.url,
          groups,
          consumers: {},
          leaseMs: LEASE_MS,
          chaos: { ...trouble, kill: start < KILLS ? KILL : 0, seed: seed * 1_000 + relay * 100 + start },
        })),
      ),
    );
    const plain = await openBus({ url: place.url, name: "consumers", log: silent });
    const bus = withChaos(plain, { ...trouble, unacknowledged: 0.2, random });
    // Two consumers of each group compete.
    const inboxes = groups.flatMap((group) =>
      [0, 1].map(() => {
        const db = databases[group.name]?.again() ?? mailing.db;
        return startInbox({ db, group, consumers: [effectConsumer()], bus, log: silent });
      }),
    );

    const ids = Array.from({ length: AGGREGATES }, () => newId());
    const wake = () => {
      for (const relay of relays) relay.wake();
    };
    const expected = await emitAll(users, ids, random, wake);
    // One that was stopped for longer than its lease goes on.
    relays[0]?.kill("SIGSTOP");
    const awake = performance.now() + 2 * LEASE_MS;
    await until(() => performance.now() > awake);
    relays[0]?.kill("SIGCONT");
    await emitAll(users, ids, random, wake).then((more) => {
      for (const [id, count] of more) expected.set(id, (expected.get(id) ?? 0) + count);
    });
    const complete = async () => {
      const effects = await Promise.all(Object.values(databases).map(({ db }) => listEffects(db)));
      return effects.every(({ length }) => length >= 2 * EVENTS);
    };
    await until(complete, 90_000).catch(() => undefined);
    await until(async () => (await unpublished(users)) === 0, 60_000).catch(() => undefined);
    const kills = relays.reduce((sum, relay) => sum + relay.kills(), 0);
    await Promise.all(relays.map((relay) => relay.close()));
    // Duplicates that are still on their way must have no effect either.
    await until(() => isDrained(place.url), 60_000);
    await Promise.all(inboxes.map((inbox) => inbox.close()));
    await plain.close();

    let violations = 0;
    for (const { db } of Object.values(databases)) violations += await violationsOf(db, expected);
    const ran = `${String(2 * EVENTS)} events, 2 consumers, ${String(kills)} relays killed in a batch, 1 stopped`;
    process.stdout.write(`seed ${String(seed)}: ${ran}, violations ${String(violations)}\n`);
    expect({ violations, unpublished: await unpublished(users) }).toEqual({ violations: 0, unpublished: 0 });
  },
);

/** Emits from eight places at once, every seventh change rolls back; answers how many each aggregate has. */
async function emitAll(
  users: OpenDatabase,
  ids: readonly string[],
  random: () => number,
  wake: () => void,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const outbox = openOutbox({ wake });
  const plan = Array.from({ length: EVENTS }, () => ids[wholeOf(random, ids.length)] ?? "");
  for (const id of plan) counts.set(id, (counts.get(id) ?? 0) + 1);
  await Promise.all(
    Array.from({ length: 8 }, async (_, place) => {
      for (let at = place; at < plan.length; at += 8) {
        const id = plan[at] ?? "";
        const change = (rollsBack: boolean) =>
          transaction(users.db, async (trx) => {
            await outbox.emit(trx, id, passwordChanged(id), new Date());
            if (rollsBack) throw new Error("rolled back");
          });
        if (at % 7 === 0) await change(true).catch(() => undefined);
        await change(false);
      }
    }),
  );
  return counts;
}

async function unpublished({ db }: OpenDatabase): Promise<number> {
  const { rows } = await sql<{ left: number }>`
    select count(*)::int as left from outbox where published_at is null
  `.execute(db);
  return rows[0]?.left ?? -1;
}

/** Effects that are missing, doubled, foreign, or not in their place. */
async function violationsOf(db: OpenDatabase["db"], expected: ReadonlyMap<string, number>): Promise<number> {
  const seen = Map.groupBy(await listEffects(db), (effect) => effect.aggregate_id);
  let violations = 0;
  for (const id of new Set([...expected.keys(), ...seen.keys()])) {
    const sequences = (seen.get(id) ?? []).map(({ sequence }) => sequence);
    const length = Math.max(expected.get(id) ?? 0, sequences.length);
    for (let at = 0; at < length; at += 1)
      if (sequences[at] !== at + 1 || at >= (expected.get(id) ?? 0)) violations += 1;
  }
  return violations;
}

async function isDrained(busUrl: string): Promise<boolean> {
  const client = new Client({ connectionString: busUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ left: number }>("select count(*)::int as left from pgboss.job");
    return rows[0]?.left === 0;
  } finally {
    await client.end();
  }
}
