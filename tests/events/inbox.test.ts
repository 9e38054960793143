import type { Kysely } from "kysely";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { transaction } from "../../src/platform/database.ts";
import type { Group } from "../../src/platform/events/bus.ts";
import type { CreateInboxOptions } from "../../src/platform/events/inbox.ts";
import { createInbox, startInbox } from "../../src/platform/events/inbox.ts";
import { startRelay } from "../../src/platform/events/relay.ts";
import { newId } from "../../src/platform/id.ts";
import { currentTraceparent } from "../../src/platform/trace.ts";
import { until } from "../support/conditions.ts";
import type { OpenDatabase } from "../support/events.ts";
import {
  emit,
  envelope,
  newIdIn,
  openOutbox,
  openTestDatabase,
  passwordChanged,
  recordingLog,
  silent,
} from "../support/events.ts";
import { createEffects, effectConsumer, effectsOf, listEffects } from "../support/events-effects.ts";
import { randomOf, shuffledWithin } from "../support/events-random.ts";
import { createMemoryBus } from "../support/memory-bus.ts";

const group: Group = { name: "mailing", topics: ["user"] };

let database: OpenDatabase;
beforeEach(async () => {
  database = await openTestDatabase("notification");
  await createEffects(database.db);
});
afterEach(() => database[Symbol.asyncDispose]());

function create(options: Partial<CreateInboxOptions> = {}) {
  return createInbox({ db: database.db, group: group.name, consumers: [effectConsumer()], log: silent, ...options });
}

/** Attempts that follow each other at once. */
const hasty = { most: 3, firstMs: 1, factor: 1, longestMs: 1 };

async function stateOf(id: string, sequence: number) {
  const { rows } = await sql<{ state: string; attempts: number; error: string | null }>`
    select state, attempts, error from inbox where aggregate_id = ${id}::uuid and sequence = ${sequence}
  `.execute(database.db);
  return rows[0];
}

async function applied(id: string): Promise<number | undefined> {
  const { rows } = await sql<{ applied: number }>`
    select applied::int as applied from inbox_marks where aggregate_id = ${id}::uuid
  `.execute(database.db);
  return rows[0]?.applied;
}

describe("an inbox", () => {
  test("applies each event once and in order, however they arrive", async () => {
    const random = randomOf(7);
    const ids = Array.from({ length: 5 }, () => newId());
    const events = Array.from({ length: 40 }, (_, index) => ids.map((id) => envelope(id, index + 1))).flat();
    const twice = shuffledWithin([...events, ...events], 150, random);
    const inboxes = [create(), create({ db: database.again() })];
    const batches = Array.from({ length: Math.ceil(twice.length / 30) }, (_, at) => twice.slice(at * 30, at * 30 + 30));
    await Promise.all(batches.map(async (batch, at) => inboxes[at % 2]?.receive(batch)));
    for (const id of ids) {
      expect(await effectsOf(database.db, id)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
    }
    expect(await create().backlog()).toEqual({ waiting: 0, retrying: 0, dead: 0 });
  });

  test("keeps an early event for after its predecessor, over any number behind it", async () => {
    const id = newId();
    const inbox = create();
    const events = Array.from({ length: 250 }, (_, index) => envelope(id, index + 1));
    await inbox.receive(events.slice(1));
    expect(await effectsOf(database.db, id)).toEqual([]);
    expect(await inbox.backlog()).toEqual({ waiting: 249, retrying: 0, dead: 0 });
    // All again, with the first.
    await inbox.receive(events);
    expect(await effectsOf(database.db, id)).toEqual(Array.from({ length: 250 }, (_, index) => index + 1));
    expect(await inbox.backlog()).toEqual({ waiting: 0, retrying: 0, dead: 0 });
  });

  test("begins where the relay says that it never got the predecessor, or right before, where it came after all", async () => {
    const inbox = create();
    const [one, other, third] = [newId(), newId(), newId()];
    await inbox.receive([envelope(one, 8), envelope(one, 7, { firstFor: ["mailing", "others"] })]);
    expect(await effectsOf(database.db, one)).toEqual([7, 8]);
    await inbox.receive([envelope(other, 4, { firstFor: ["others"] })]);
    expect(await effectsOf(database.db, other)).toEqual([]);
    await inbox.receive([envelope(third, 2), envelope(third, 4)]);
    await inbox.receive([envelope(third, 5, { firstFor: ["mailing"] })]);
    expect(await effectsOf(database.db, third)).toEqual([4, 5]);
    expect((await stateOf(third, 2))?.state).toBe("skipped");
  });

  test("leaves versions of the future to a newer build", async () => {
    const id = newId();
    const old = create();
    await old.receive([envelope(id, 1), envelope(id, 2, { version: 2 }), envelope(id, 3)]);
    await old.retryDue();
    expect(await effectsOf(database.db, id)).toEqual([1]);
    expect(await stateOf(id, 2)).toEqual({ state: "waiting", attempts: 0, error: null });
    await create({ consumers: [effectConsumer(undefined, 2)] }).retryDue();
    expect(await effectsOf(database.db, id)).toEqual([1, 2, 3]);
  });

  test("passes over types that the role does not consume, and leaves topics that it does not know", async () => {
    const [id, foreign] = [newId(), newId()];
    const inbox = create();
    await inbox.receive([envelope(id, 1, { type: "user.updated" }), envelope(id, 2)]);
    expect(await effectsOf(database.db, id)).toEqual([2]);
    await inbox.receive([envelope(foreign, 1, { topic: "order", type: "order.placed" })]);
    expect((await stateOf(foreign, 1))?.state).toBe("waiting");
  });

  test("applies under the trace context of the call that made the change", async () => {
    const seen: string[] = [];
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const consumers = [effectConsumer(() => void seen.push(currentTraceparent()))];
    await create({ consumers }).receive([envelope(newId(), 1, { traceparent })]);
    expect(seen).toEqual([traceparent]);
  });

  test("drops what is no event, and says how long it was", async () => {
    const { log, lines } = recordingLog();
    const id = newId();
    const bad = [
      Buffer.from("no envelope"),
      envelope("not-a-uuid", 1),
      envelope(newId(), 0),
      envelope(newId(), 1, { type: "a\0b" }),
      envelope(newId(), 1, { occurredAt: { seconds: -250_000_000_000n, nanos: 0 } }),
    ];
    await create({ log }).receive([...bad, envelope(id, 1)]);
    expect(await effectsOf(database.db, id)).toEqual([1]);
    expect(lines.map(({ bytes }) => bytes)).toEqual(bad.map(({ length }) => length));
  });
});

describe("an event that fails", () => {
  test("parks its aggregate alone: others of the same batch are applied at once", async () => {
    const [poison, ...healthy] = Array.from({ length: 60 }, () => newId());
    let fails = true;
    const consumers = [
      effectConsumer(({ aggregateId, sequence }) => {
        if (fails && aggregateId === poison && sequence === 2n) throw new Error("poison\0");
      }),
    ];
    const inbox = create({ consumers, attempts: { ...hasty, firstMs: 50, longestMs: 50 } });
    const ids = [poison ?? "", ...healthy];
    const began = performance.now();
    await inbox.receive(ids.flatMap((id) => [envelope(id, 1), envelope(id, 2), envelope(id, 3)]));
    expect(performance.now() - began).toBeLessThan(1_000);
    for (const id of healthy) expect(await applied(id)).toBe(3);
    expect(await effectsOf(database.db, poison ?? "")).toEqual([1]);
    expect(await stateOf(poison ?? "", 2)).toEqual({ state: "retrying", attempts: 1, error: "poison" });
    expect(await inbox.backlog()).toEqual({ waiting: 1, retrying: 1, dead: 0 });
    // Not before its time, though more arrives.
    await inbox.receive([envelope(poison ?? "", 4)]);
    expect((await stateOf(poison ?? "", 2))?.attempts).toBe(1);
    fails = false;
    await until(async () => {
      await inbox.retryDue();
      return (await applied(poison ?? "")) === 4;
    });
    expect(await effectsOf(database.db, poison ?? "")).toEqual([1, 2, 3, 4]);
    const effects = await listEffects(database.db);
    expect(new Set(effects.map(({ event_id }) => event_id)).size).toBe(effects.length);
  });

  test("is given up after its attempts, with one line; several poison aggregates do not hold up each other", async () => {
    const { log, lines } = recordingLog();
    const ids = Array.from({ length: 8 }, () => newId());
    const consumers = [
      effectConsumer(({ aggregateId }) => {
        if (ids.indexOf(aggregateId) < 6) throw new Error("poison");
      }),
    ];
    const inbox = create({ consumers, attempts: hasty, log });
    await inbox.receive(ids.map((id) => envelope(id, 1)));
    await until(async () => {
      await inbox.retryDue();
      return (await inbox.backlog()).dead === 6;
    });
    expect(lines.filter(({ level }) => level === 50)).toHaveLength(6);
    expect(await stateOf(ids[0] ?? "", 1)).toEqual({ state: "dead", attempts: 3, error: "poison" });
    expect(await effectsOf(database.db, ids[7] ?? "")).toEqual([1]);
    // It comes again: known.
    await inbox.receive([envelope(ids[0] ?? "", 1)]);
    expect((await stateOf(ids[0] ?? "", 1))?.state).toBe("dead");
  });

  test("cannot be read: it fails like any other", async () => {
    const id = newId();
    await create().receive([envelope(id, 1, { payload: Buffer.from([0xff, 0xff]) }), envelope(id, 2)]);
    expect((await stateOf(id, 1))?.state).toBe("retrying");
    expect((await stateOf(id, 2))?.state).toBe("waiting");
  });

  test("is found though its handler hides the error, or it shows only at the commit", async () => {
    await sql`
      create table strict (id int not null, constraint strict_once unique (id) deferrable initially deferred)
    `.execute(database.db);
    const [hides, late, healthy] = [newId(), newId(), newId()];
    const consumers = [
      effectConsumer(async ({ aggregateId, sequence }, trx) => {
        if (sequence !== 2n) return;
        if (aggregateId === hides) await sql`select 1 / 0`.execute(trx).catch(() => undefined);
        if (aggregateId === late) await sql`insert into strict values (1), (1)`.execute(trx);
      }),
    ];
    await create({ consumers }).receive(
      [hides, late, healthy].flatMap((id) => [envelope(id, 1), envelope(id, 2), envelope(id, 3)]),
    );
    expect(await effectsOf(database.db, healthy)).toEqual([1, 2, 3]);
    for (const id of [hides, late]) {
      expect(await effectsOf(database.db, id)).toEqual([1]);
      expect(await stateOf(id, 2)).toMatchObject({ state: "retrying", attempts: 1 });
    }
  });

  test("does not hold up others where its handler never ends", async () => {
    const [hangs, healthy] = [newId(), newId()];
    const consumers = [
      effectConsumer(({ aggregateId }) => (aggregateId === hangs ? new Promise<void>(() => undefined) : undefined)),
    ];
    await create({ consumers, handlerMs: 200 }).receive([envelope(hangs, 1), envelope(healthy, 1)]);
    expect(await effectsOf(database.db, healthy)).toEqual([1]);
    expect(await stateOf(hangs, 1)).toEqual({
      state: "retrying",
      attempts: 1,
      error: "the handler was not done after 200 ms",
    });
  });

  test("is not kept for ever where the failure cannot be noted either", async () => {
    await sql`create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$`.execute(
      database.db,
    );
    await sql`create trigger refuse before insert on inbox for each row execute function refuse()`.execute(database.db);
    const consumers = [
      effectConsumer(() => {
        throw new Error("poison");
      }),
    ];
    await expect(create({ consumers }).receive([envelope(newId(), 1)])).rejects.toThrow("refused");
  });

  test("is tried again though the clock of the database was set back", async () => {
    const id = newId();
    let fails = true;
    const consumers = [
      effectConsumer(() => {
        if (fails) throw new Error("poison");
      }),
    ];
    const inbox = create({ consumers });
    await inbox.receive([envelope(id, 1)]);
    await sql`update inbox set next_attempt_at = next_attempt_at + interval '1 hour'`.execute(database.db);
    fails = false;
    await inbox.retryDue();
    expect(await effectsOf(database.db, id)).toEqual([1]);
  });

  test("leaves no half of an effect behind", async () => {
    const id = newId();
    let tries = 0;
    const consumers = [
      effectConsumer(async (event, trx) => {
        await sql`insert into effects (event_id, aggregate_id, sequence) values (${event.id}, ${id}, 99)`.execute(trx);
        if ((tries += 1) === 1) throw new Error("half way");
      }),
    ];
    const inbox = create({ consumers, attempts: hasty });
    await inbox.receive([envelope(id, 1)]);
    expect(await listEffects(database.db)).toEqual([]);
    await until(async () => {
      await inbox.retryDue();
      return (await applied(id)) === 1;
    });
    expect(await effectsOf(database.db, id)).toEqual([99, 1]);
  });
});

describe("a database that is busy or away", () => {
  test("is no failure of the event: the bus delivers it again", async () => {
    const id = newId();
    const inbox = create();
    await inbox.receive([envelope(id, 1)]);
    const release = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const holding = transaction(database.again(), async (trx) => {
      await sql`select from inbox_marks where aggregate_id = ${id}::uuid for update`.execute(trx);
      held.resolve();
      await release.promise;
    });
    await held.promise;
    await expect(inbox.receive([envelope(id, 2)])).rejects.toMatchObject({ code: "55P03" });
    release.resolve();
    await holding;
    expect(await stateOf(id, 2)).toBeUndefined();

    const killing = create({
      consumers: [
        effectConsumer(async (_event, trx) => {
          await sql`select pg_terminate_backend(pg_backend_pid())`.execute(trx);
        }),
      ],
    });
    await expect(killing.receive([envelope(id, 2)])).rejects.toMatchObject({ code: "57P01" });
    expect(await stateOf(id, 2)).toBeUndefined();
    await inbox.receive([envelope(id, 2)]);
    expect(await effectsOf(database.db, id)).toEqual([1, 2]);
  });
});

test("what could not be committed is delivered again", async () => {
  const bus = createMemoryBus();
  await bus.declare([group]);
  const id = newId();
  let tries = 0;
  const consumers = [
    effectConsumer(async (_event, trx) => {
      if ((tries += 1) <= 2) await sql`select pg_terminate_backend(pg_backend_pid())`.execute(trx);
    }),
  ];
  const inbox = startInbox({ db: database.db, group, consumers, bus, log: silent });
  await bus.publish([{ id: newId(), topic: "user", key: id, body: envelope(id, 1) }]);
  await until(() => tries > 0);
  await until(async () => (await applied(id)) === 1, 5_000).catch(() => undefined);
  await inbox.close();
  expect(await effectsOf(database.db, id)).toEqual([1]);
  expect(tries).toBe(3);
});

/** How many partitions each relay has. */
async function sharesOf(users: Kysely<unknown>): Promise<readonly number[]> {
  const { rows } = await sql<{ held: number }>`
    select count(*)::int as held from relay_leases where owner is not null group by owner
  `.execute(users);
  return rows.map(({ held }) => held);
}

test("two relays and two inboxes over a bus that doubles, drops and reorders: each effect once and in order", async () => {
  await using users = await openTestDatabase("user");
  const bus = createMemoryBus({ duplicate: 0.3, drop: 0.2, reorder: 50, random: randomOf(42) });
  const relays = [0, 1].map(() =>
    startRelay({ db: users.again(), role: "user", bus, groups: [group], log: silent, leaseMs: 600 }),
  );
  const inboxes = [0, 1].map(() =>
    startInbox({ db: database.again(), group, consumers: [effectConsumer()], bus, log: silent }),
  );
  await until(async () => (await sharesOf(users.db)).join() === "8,8");
  // Each relay has some of them.
  const ids = Array.from({ length: 16 }, (_, partition) => newIdIn(partition));
  const outbox = openOutbox({
    wake() {
      for (const relay of relays) relay.wake();
    },
  });
  const late = newId();
  await transaction(users.db, async (trx) => {
    await outbox.emit(trx, late, passwordChanged(late), new Date());
    await Promise.all(ids.map((id) => emit(users.db, outbox, id, 20)));
    await until(async () => (await listEffects(database.db)).length >= 320, 20_000);
    expect(await effectsOf(database.db, late)).toEqual([]);
  });
  await until(async () => (await listEffects(database.db)).length >= 321, 20_000);
  await Promise.all([...relays, ...inboxes].map((running) => running.close()));
  for (const id of ids) {
    expect(await effectsOf(database.db, id)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  }
  expect(await effectsOf(database.db, late)).toEqual([1]);
});
