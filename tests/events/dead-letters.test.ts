import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DeadLetterService } from "#gen/commerce/notification/v1/notification_pb.ts";
import { serve } from "../../src/platform/call.ts";
import { createDeadLetterRpc } from "../../src/platform/events/dead-letters.ts";
import { createInbox } from "../../src/platform/events/inbox.ts";
import { newId } from "../../src/platform/id.ts";
import { defineRole } from "../../src/platform/role.ts";
import { envelope, silent } from "../support/events.ts";
import { createEffects, effectConsumer, effectsOf } from "../support/events-effects.ts";
import type { TestRole } from "../support/role.ts";
import { refusal, startTestRole } from "../support/role.ts";

let poison: Set<string>;
let woken: number;
let role: TestRole;
beforeEach(async () => {
  poison = new Set();
  woken = 0;
  const definition = defineRole({
    config: {},
    start: ({ database, pages }) => ({
      services: [
        serve(
          DeadLetterService,
          createDeadLetterRpc({ db: database(), pages, consumers: [effectConsumer()], wake: () => (woken += 1) }),
        ),
      ],
    }),
  });
  role = await startTestRole("notification", definition);
  await createEffects(role.database());
});
afterEach(() => role[Symbol.asyncDispose]());

function inbox() {
  return createInbox({
    db: role.database<unknown>(),
    group: "notification",
    consumers: [
      effectConsumer(({ aggregateId, sequence }) => {
        if (sequence === 2n && poison.has(aggregateId)) throw new Error("poison");
      }),
    ],
    log: silent,
    attempts: { most: 1, firstMs: 1, factor: 1, longestMs: 1 },
  });
}

/** An aggregate whose second event of four is given up; answers the id of that event. */
async function giveUp(aggregateId: string): Promise<string> {
  poison.add(aggregateId);
  const id = newId();
  await inbox().receive([1, 2, 3, 4].map((sequence) => envelope(aggregateId, sequence, sequence === 2 ? { id } : {})));
  return id;
}

const client = () => role.client(DeadLetterService);

test("dead letters are listed a page at a time, and read with their payload", async () => {
  const aggregates = [newId(), newId(), newId()];
  const ids: string[] = [];
  for (const aggregate of aggregates) ids.push(await giveUp(aggregate));
  const first = await client().listDeadLetters({ pageSize: 2 });
  const second = await client().listDeadLetters({ pageSize: 2, pageToken: first.nextPageToken });
  const all = [...first.deadLetters, ...second.deadLetters];
  expect(new Set(all.map(({ eventId }) => eventId))).toEqual(new Set(ids));
  expect([first.deadLetters.length, second.deadLetters.length, second.nextPageToken]).toEqual([2, 1, ""]);
  expect(all[0]).toMatchObject({
    topic: "user",
    type: "user.password_changed",
    sequence: 2n,
    error: "poison",
    attempts: 1,
    waiting: 2,
    payloadJson: "",
  });
  const { deadLetter } = await client().getDeadLetter({ eventId: ids[0] ?? "" });
  expect(JSON.parse(deadLetter?.payloadJson ?? "")).toEqual({ passwordChanged: { userId: aggregates[0] } });
  const absent = { eventId: newId() };
  const { getDeadLetter, replayDeadLetter, skipDeadLetter } = client();
  for (const call of [getDeadLetter, replayDeadLetter, skipDeadLetter]) {
    expect(await refusal(call(absent))).toMatchObject({ reason: "NOT_FOUND" });
  }
});

test("a replay after the fix takes effect once, also when 20 ask for it at the same time", async () => {
  const aggregate = newId();
  const eventId = await giveUp(aggregate);
  expect(await effectsOf(role.database(), aggregate)).toEqual([1]);
  poison.clear();
  await Promise.all(Array.from({ length: 20 }, () => client().replayDeadLetter({ eventId })));
  expect(woken).toBe(20);
  const runs = Array.from({ length: 4 }, () => inbox().retryDue());
  await Promise.all(runs);
  expect(await effectsOf(role.database(), aggregate)).toEqual([1, 2, 3, 4]);
  // Again, later: nothing changes.
  await client().replayDeadLetter({ eventId });
  await client().skipDeadLetter({ eventId });
  await inbox().retryDue();
  expect(await effectsOf(role.database(), aggregate)).toEqual([1, 2, 3, 4]);
  expect((await client().listDeadLetters({})).deadLetters).toEqual([]);
});

test("a replay before the fix gives it up again", async () => {
  const eventId = await giveUp(newId());
  await client().replayDeadLetter({ eventId });
  await inbox().retryDue();
  expect((await client().listDeadLetters({})).deadLetters.map((letter) => letter.eventId)).toEqual([eventId]);
});

test("a skip passes over the event once, also when 20 ask for it at the same time", async () => {
  const aggregate = newId();
  const eventId = await giveUp(aggregate);
  await Promise.all(Array.from({ length: 20 }, () => client().skipDeadLetter({ eventId })));
  await inbox().retryDue();
  expect(await effectsOf(role.database(), aggregate)).toEqual([1, 3, 4]);
  const { rows } = await sql`select state from inbox where id = ${eventId}::uuid`.execute(role.database());
  expect(rows).toEqual([{ state: "skipped" }]);
  await client().replayDeadLetter({ eventId });
  await inbox().retryDue();
  expect(await effectsOf(role.database(), aggregate)).toEqual([1, 3, 4]);
});

test("a skip passes over an event that a replay has tried in vain, while it waits for its next attempt", async () => {
  const aggregate = newId();
  const eventId = await giveUp(aggregate);
  await client().replayDeadLetter({ eventId });
  await client().skipDeadLetter({ eventId });
  await inbox().retryDue();
  expect(await effectsOf(role.database(), aggregate)).toEqual([1, 3, 4]);
});

test("skip and replay at the same time: one of them takes effect", async () => {
  const aggregate = newId();
  const eventId = await giveUp(aggregate);
  poison.clear();
  await Promise.all([client().skipDeadLetter({ eventId }), client().replayDeadLetter({ eventId })]);
  await inbox().retryDue();
  const effects = await effectsOf(role.database(), aggregate);
  expect([
    [1, 3, 4],
    [1, 2, 3, 4],
  ]).toContainEqual(effects);
});
