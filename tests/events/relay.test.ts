import { setTimeout as delay } from "node:timers/promises";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { transaction } from "../../src/platform/database.ts";
import type { Bus, Group } from "../../src/platform/events/bus.ts";
import { openBus } from "../../src/platform/events/bus.ts";
import { createInbox } from "../../src/platform/events/inbox.ts";
import { toBusMessage } from "../../src/platform/events/envelope.ts";
import { partitionOf } from "../../src/platform/events/outbox.ts";
import { selectUnpublished } from "../../src/platform/events/relay-store.ts";
import { pruneInbox, pruneOutbox } from "../../src/platform/events/prune.ts";
import type { Relay, RelayOptions } from "../../src/platform/events/relay.ts";
import { startRelay } from "../../src/platform/events/relay.ts";
import { newId } from "../../src/platform/id.ts";
import { until } from "../support/conditions.ts";
import type { OpenDatabase } from "../support/events.ts";
import {
  emit,
  newIdIn,
  openEnvelope,
  openOutbox,
  openTestDatabase,
  passwordChanged,
  recordingLog,
  silent,
} from "../support/events.ts";
import { createEffects, effectConsumer, effectsOf } from "../support/events-effects.ts";
import type { MemoryBus } from "../support/memory-bus.ts";
import { createMemoryBus } from "../support/memory-bus.ts";
import { createTestDatabase } from "../support/postgres.ts";

const mailing: Group = { name: "mailing", topics: ["user"] };
const counting: Group = { name: "counting", topics: ["user", "order"] };
const LEASE_MS = 600;

let database: OpenDatabase;
let bus: MemoryBus;
let relays: Relay[];
beforeEach(async () => {
  database = await openTestDatabase("user");
  bus = createMemoryBus();
  relays = [];
});
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.close()));
  await database[Symbol.asyncDispose]();
});

function start(options: Partial<RelayOptions> = {}): Relay {
  const relay = startRelay({
    db: database.again(),
    role: "user",
    bus,
    groups: [mailing],
    log: silent,
    leaseMs: LEASE_MS,
    ...options,
  });
  relays.push(relay);
  return relay;
}

const sent = () => bus.published.flat().map(({ body }) => openEnvelope(body));
const sequencesOf = (id: string) =>
  sent()
    .filter(({ aggregateId }) => aggregateId === id)
    .map(({ sequence }) => Number(sequence));

async function unpublished(): Promise<number> {
  const { rows } = await sql<{ left: number }>`
    select count(*)::int as left from outbox where published_at is null
  `.execute(database.db);
  return rows[0]?.left ?? -1;
}

/** How many partitions each relay holds, the most first. */
async function shares(): Promise<number[]> {
  const { rows } = await sql<{ held: number }>`
    select count(*)::int as held from relay_leases where owner is not null and expires_at > clock_timestamp()
    group by owner order by held desc
  `.execute(database.db);
  return rows.map(({ held }) => held);
}

/** Whether one relay has all partitions and no consumer is new any more. */
async function own16(): Promise<boolean> {
  const { rows } = await sql<{ declared: boolean | null }>`
    select bool_and(declared) as declared from outbox_consumers
  `.execute(database.db);
  return rows[0]?.declared === true && (await shares())[0] === 16;
}

/** A bus that a test can hold up. */
function gated(): Bus & { hold(step: "declare" | "publish"): { readonly reached: Promise<void>; release(): void } } {
  const gates = new Map<string, { reached(): void; readonly open: Promise<void> }>();
  const pass = async (step: string) => {
    const gate = gates.get(step);
    gates.delete(step);
    gate?.reached();
    await gate?.open;
  };
  return {
    ...bus,
    declare: async (groups) => {
      await pass("declare");
      await bus.declare(groups);
    },
    publish: async (messages) => {
      await pass("publish");
      await bus.publish(messages);
    },
    hold(step) {
      const reached = Promise.withResolvers<void>();
      const open = Promise.withResolvers<void>();
      gates.set(step, { reached: reached.resolve, open: open.promise });
      return { reached: reached.promise, release: open.resolve };
    },
  };
}

/** The bus on a Postgres of its own. */
async function openTestBus(): Promise<AsyncDisposable & { readonly bus: Bus }> {
  const { url, drop } = await createTestDatabase("events");
  const opened = await openBus({ url, name: "tests", log: silent });
  return {
    bus: opened,
    async [Symbol.asyncDispose]() {
      await opened.close();
      await drop();
    },
  };
}

describe("a relay", () => {
  test("publishes at once when it is woken, in the order of each aggregate", async () => {
    const relay = start();
    await until(own16);
    const outbox = openOutbox(relay);
    const [one, other] = [newId(), newId()];
    const began = performance.now();
    await emit(database.db, outbox, one, 3);
    await emit(database.db, outbox, other, 2);
    await until(async () => (await unpublished()) === 0);
    // Nobody waited for a poll.
    expect(performance.now() - began).toBeLessThan(900);
    expect([sequencesOf(one), sequencesOf(other)]).toEqual([
      [1, 2, 3],
      [1, 2],
    ]);
    expect(await relay.lag()).toEqual({ unpublished: 0, oldestSeconds: 0 });
  });

  test("publishes what another process wrote without a wake, by its poll", async () => {
    start();
    await until(own16);
    const id = newId();
    await emit(database.db, openOutbox(), id);
    await until(() => sequencesOf(id).length > 0, 3_000);
    expect(sequencesOf(id)).toEqual([1]);
  });

  test("publishes nothing of a change that is rolled back", async () => {
    const relay = start();
    await until(own16);
    const outbox = openOutbox(relay);
    const [kept, lost] = [newId(), newId()];
    const change = transaction(database.db, async (trx) => {
      await outbox.emit(trx, lost, passwordChanged(lost), new Date());
      // Long enough for the relay to find it, if it could.
      await emit(database.again(), outbox, kept);
      await until(() => sequencesOf(kept).length > 0);
      throw new Error("rolled back");
    });
    await expect(change).rejects.toThrow("rolled back");
    expect([sequencesOf(kept), sequencesOf(lost)]).toEqual([[1], []]);
  });

  test("publishes what commits late, though later events are published already", async () => {
    const relay = start();
    await until(own16);
    const [late, early] = [newId(), newId()];
    const outbox = openOutbox(relay);
    await database.db.transaction().execute(async (trx) => {
      const first = outbox.first(late, { case: "passwordChanged", value: { userId: late } }, new Date(), sql`true`);
      await sql`with ${first} select 1`.execute(trx);
      await emit(database.db, outbox, early);
      await until(() => sequencesOf(early).length === 1);
      expect(sequencesOf(late)).toEqual([]);
    });
    relay.wake();
    await until(() => sequencesOf(late).length === 1);
  });

  test("keeps events while the bus is down, says so once, and catches up", async () => {
    const { log, lines } = recordingLog();
    const relay = start({ log });
    await until(own16);
    bus.down = true;
    const ids = Array.from({ length: 20 }, () => newId());
    for (const id of ids) await emit(database.db, openOutbox(relay), id, 2);
    await until(() => lines.length > 0);
    const lag = await relay.lag();
    expect(lag.unpublished).toBe(40);
    expect(lag.oldestSeconds).toBeGreaterThan(0);
    bus.down = false;
    await until(async () => (await unpublished()) === 0);
    await until(() => lines.length > 1);
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      [40, "events are not published; they wait in the outbox"],
      [30, "events are published again"],
    ]);
    for (const id of ids) expect(sequencesOf(id)).toEqual([1, 2]);
  });
});

describe("relays of several processes", () => {
  test("share the partitions fairly; what one that was killed held is taken over when its leases expire", async () => {
    const pool = database.again();
    start({ db: pool });
    await until(own16);
    const survivor = start();
    start();
    await until(async () => (await shares()).join() === "6,5,5");
    // As dead as after a kill: it gives nothing back, and says nothing more.
    await pool.destroy();
    await until(async () => (await shares()).join() === "8,8");
    const ids = Array.from({ length: 16 }, (_, partition) => newIdIn(partition));
    for (const id of ids) await emit(database.db, openOutbox(survivor), id, 2);
    await until(async () => (await unpublished()) === 0);
    for (const id of ids) expect(sequencesOf(id)).toEqual([1, 2]);
  });

  test("one that closes lets another go on at once", async () => {
    const first = start({ leaseMs: 60_000 });
    await until(own16);
    const second = start({ leaseMs: 60_000 });
    await first.close();
    const id = newId();
    await emit(database.db, openOutbox(second), id);
    await until(() => sequencesOf(id).length === 1, 3_000);
    expect(await shares()).toEqual([16]);
  });

  test("marks of one that lost its leases while it published are refused", async () => {
    const slow = gated();
    const relay = start({ bus: slow });
    await until(own16);
    const gate = slow.hold("publish");
    const id = newId();
    await emit(database.db, openOutbox(relay), id);
    await gate.reached;
    await giveAllToAnother();
    gate.release();
    await until(() => sequencesOf(id).length > 0);
    const seen = await seenAt();
    await until(async () => (await seenAt()) > seen, 5_000);
    // It is with the bus, and whoever has the partition now publishes it again.
    expect(sequencesOf(id)).toEqual([1]);
    expect(await unpublished()).toBe(1);
  });

  test("one that was stopped for longer than its lease publishes nothing before it has asked again", async () => {
    const first = start();
    await until(own16);
    await first.close();
    const id = newId();
    await emit(database.db, openOutbox(), id);
    await transaction(database.db, async (trx) => {
      // Stops it between its lease and the events.
      await sql`lock table outbox in access exclusive mode`.execute(trx);
      start();
      await until(async () => (await shares())[0] === 16);
      await giveAllToAnother();
      await delay(LEASE_MS);
    });
    const seen = await seenAt();
    await until(async () => (await seenAt()) > seen, 5_000);
    expect(sequencesOf(id)).toEqual([]);
    expect(await unpublished()).toBe(1);
  });
});

test("a broker that takes longer for a batch than a lease lasts does not keep two relays from going on", async () => {
  const slow: Bus = {
    ...bus,
    async publish(messages) {
      await delay(LEASE_MS * 1.5);
      await bus.publish(messages);
    },
  };
  const relay = start({ bus: slow });
  start({ bus: slow });
  await until(async () => (await shares()).join() === "8,8");
  const ids = Array.from({ length: 16 }, (_, partition) => newIdIn(partition));
  for (const id of ids) await emit(database.db, openOutbox(relay), id);
  await until(async () => (await unpublished()) === 0, 6_000);
  for (const id of ids) expect(sequencesOf(id)).toContain(1);
});

test("a relay whose own way to the broker is cut leaves its partitions to the others", async () => {
  const cut = createMemoryBus();
  const relay = start({ bus: cut, leaseMs: 3_000 });
  await until(own16);
  cut.down = true;
  const ids = Array.from({ length: 16 }, (_, partition) => newIdIn(partition));
  for (const id of ids) await emit(database.db, openOutbox(relay), id);
  start({ leaseMs: 3_000 });
  await until(async () => (await unpublished()) === 0, 5_000);
  for (const id of ids) expect(sequencesOf(id)).toContain(1);
});

test("a clock of the database that was set back does not keep the partitions of a relay that died", async () => {
  await sql`
    update relay_leases set owner = ${newId()}::uuid, expires_at = clock_timestamp() + interval '1 hour'
  `.execute(database.db);
  await sql`
    insert into relay_members (id, seen_at) values (${newId()}::uuid, clock_timestamp() + interval '1 hour')
  `.execute(database.db);
  start();
  await until(own16, 3_000);
  expect(await shares()).toEqual([16]);
});

test("what is read at once is bounded in bytes, not in events alone", async () => {
  const id = newId();
  const outbox = openOutbox();
  await emit(database.db, outbox, id, 5);
  await sql`update outbox set payload = decode(repeat('00', 3000000), 'hex')`.execute(database.db);
  const { events, more } = await selectUnpublished(database.db, [partitionOf(id)], 500, LEASE_MS);
  expect(events.map(({ sequence }) => Number(sequence))).toEqual([1, 2, 3]);
  expect(more).toBe(true);
  await sql`update outbox set payload = decode(repeat('00', 9000000), 'hex')`.execute(database.db);
  expect((await selectUnpublished(database.db, [partitionOf(id)], 500, LEASE_MS)).events).toHaveLength(1);
});

/** Another relay has all partitions from now on, and does nothing. */
async function giveAllToAnother(): Promise<void> {
  const other = newId();
  await sql`
    update relay_leases set owner = ${other}::uuid, token = token + 1,
      expires_at = clock_timestamp() + ${2.9 * LEASE_MS}::float8 * interval '1 ms'
  `.execute(database.db);
}

/** When a relay asked for partitions last, in seconds. */
async function seenAt(): Promise<number> {
  const { rows } = await sql<{ at: number | null }>`
    select extract(epoch from max(seen_at))::float8 as at from relay_members
  `.execute(database.db);
  return rows[0]?.at ?? 0;
}

describe("a new consumer", () => {
  test("begins with the first event whose predecessor it never got; the others are told nothing", async () => {
    const first = start({ groups: [mailing] });
    await until(own16);
    const [old, young] = [newId(), newId()];
    await emit(database.db, openOutbox(first), old, 2);
    await until(async () => (await unpublished()) === 0);
    await first.close();
    await sql`update outbox set published_at = published_at - interval '1 hour'`.execute(database.db);
    await sql`update outbox_consumers set since = since - interval '1 hour'`.execute(database.db);

    const second = start({ groups: [mailing, counting] });
    const outbox = openOutbox(second);
    await until(() => bus.groups.has("counting"));
    await until(own16);
    await emit(database.db, outbox, old, 2);
    await emit(database.db, outbox, young, 2);
    await until(async () => (await unpublished()) === 0);
    const told = sent()
      .filter(({ firstFor }) => firstFor.length > 0)
      .map(({ aggregateId, sequence, firstFor }) => [aggregateId, Number(sequence), firstFor]);
    expect(new Map(told.map((row) => [JSON.stringify(row), row])).size).toBe(1);
    expect(told[0]).toEqual([old, 3, ["counting"]]);
  });

  test("is told of it also where the predecessor was pruned", async () => {
    const first = start();
    await until(own16);
    const id = newId();
    await emit(database.db, openOutbox(first), id, 2);
    await until(async () => (await unpublished()) === 0);
    await first.close();
    await sql`update outbox set published_at = published_at - interval '30 days'`.execute(database.db);
    await pruneOutbox(database.db);
    await sql`update outbox_consumers set since = since - interval '60 days'`.execute(database.db);
    const second = start({ groups: [mailing, counting] });
    await until(() => bus.groups.has("counting"));
    await emit(database.db, openOutbox(second), id);
    await until(() => sequencesOf(id).includes(3));
    expect(sent().find(({ sequence }) => sequence === 3n)?.firstFor).toEqual(["counting"]);
  });

  test("is subscribed to this role's events only: the others' relays know which are the first of theirs", async () => {
    start({ groups: [counting] });
    await until(own16);
    expect(bus.groups.get("counting")).toEqual({ name: "counting", topics: ["user"] });
  });

  test("gets an event that says that it is the first, though its queue has it already without that", async () => {
    await using events = await openTestBus();
    const id = newId();
    await emit(database.db, openOutbox(), id);
    await sql`update outbox set published_at = clock_timestamp() - interval '1 hour'`.execute(database.db);
    await emit(database.db, openOutbox(), id);
    // By a relay that had read the event before the consumer was noted.
    const [unaware] = (await selectUnpublished(database.db, [partitionOf(id)], 10, LEASE_MS)).events;
    await events.bus.declare([mailing]);
    if (unaware) await events.bus.publish([toBusMessage("user", unaware)]);
    const got: Uint8Array[] = [];
    start({ bus: events.bus });
    await until(async () => (await unpublished()) === 0);
    events.bus.consume(mailing, { batch: 10, handle: (bodies) => Promise.resolve(void got.push(...bodies)) });
    await until(() => got.length > 1, 3_000).catch(() => undefined);
    expect(got.map(openEnvelope).map(({ sequence, firstFor }) => [Number(sequence), firstFor])).toContainEqual([
      2,
      ["mailing"],
    ]);
  });

  test("is subscribed again when its subscription is lost", async () => {
    start({ declareEveryMs: 100 });
    await until(own16);
    (bus.groups as Map<string, Group>).delete("mailing");
    await until(() => bus.groups.has("mailing"), 3_000);
    expect(bus.groups.get("mailing")).toEqual(mailing);
  });

  test("gets what went out shortly before: the clock may be set back", async () => {
    const first = start();
    await until(own16);
    const id = newId();
    await emit(database.db, openOutbox(first), id, 2);
    await until(async () => (await unpublished()) === 0);
    start({ groups: [mailing, counting] });
    await until(() => sequencesOf(id).length >= 4, 5_000);
    expect(sequencesOf(id)).toEqual([1, 2, 1, 2]);
    expect(sent().flatMap(({ firstFor }) => firstFor)).toEqual([]);
  });

  test("gets what went out while it was subscribed, though the process that did so was killed before it noted that", async () => {
    const first = start();
    await until(own16);
    const id = newId();
    await sql`
      insert into outbox_consumers (name, since, declared) values ('counting', clock_timestamp(), false)
    `.execute(database.db);
    await emit(database.db, openOutbox(first), id);
    await until(async () => (await unpublished()) === 0);
    start({ groups: [mailing, counting] });
    await until(() => sequencesOf(id).length === 2, 5_000);
    expect(sequencesOf(id)).toEqual([1, 1]);
  });
});

test("pruned events are still known: what the bus brings again has no second effect", async () => {
  await using consumer = await openTestDatabase("notification");
  await createEffects(consumer.db);
  const relay = start();
  const id = newId();
  await emit(database.db, openOutbox(relay), id, 3);
  await until(async () => (await unpublished()) === 0);
  const bodies = bus.published.flat().map(({ body }) => body);
  const inbox = createInbox({ db: consumer.db, group: "mailing", consumers: [effectConsumer()], log: silent });
  await inbox.receive(bodies);
  await sql`update outbox set published_at = published_at - interval '8 days'`.execute(database.db);
  await sql`update inbox set settled_at = settled_at - interval '8 days'`.execute(consumer.db);
  expect([await pruneOutbox(database.db), await pruneInbox(consumer.db)]).toEqual([3, 3]);
  await inbox.receive(bodies);
  expect(await effectsOf(consumer.db, id)).toEqual([1, 2, 3]);
  await emit(database.db, openOutbox(relay), id);
  await until(() => sequencesOf(id).includes(4));
  await inbox.receive(bus.published.flat().map(({ body }) => body));
  expect(await effectsOf(consumer.db, id)).toEqual([1, 2, 3, 4]);
});
