import { isDeepStrictEqual } from "node:util";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { newId } from "../../src/platform/id.ts";
import { createRoleEvents } from "../../src/platform/events/role-events.ts";
import { userEvents } from "../../src/roles/user/events.ts";
import { until } from "../support/conditions.ts";
import { emit, openOutbox, openTestDatabase, silent } from "../support/events.ts";
import { createMemoryBus } from "../support/memory-bus.ts";

test("numbers that the database does not tell in time are left out: they make no role unready", async () => {
  await using database = await openTestDatabase("user");
  const events = createRoleEvents({
    role: "user",
    declaration: userEvents,
    database: { db: database.db, check: () => Promise.resolve("ok") },
    groups: [],
    bus: createMemoryBus(),
    log: silent,
  });
  events.start([]);
  const atRest = { "user.unpublished": 0, "user.oldest_unpublished_seconds": 0 };
  await until(async () => isDeepStrictEqual(await events.numbers(), atRest));
  await database
    .again()
    .transaction()
    .execute(async (trx) => {
      await sql`lock table outbox in access exclusive mode`.execute(trx);
      expect(await events.numbers()).toEqual({});
    });
  await events.close();
});

test("nothing is published or consumed before the database is migrated", async () => {
  await using database = await openTestDatabase("user");
  const bus = createMemoryBus();
  let checked = 0;
  let answer = "lacks a migration";
  const events = createRoleEvents({
    role: "user",
    declaration: userEvents,
    database: {
      db: database.db,
      check: () => {
        checked += 1;
        return Promise.resolve(answer);
      },
    },
    groups: [{ name: "mailing", topics: ["user"] }],
    bus,
    log: silent,
  });
  await emit(database.db, openOutbox(), newId());
  events.start([]);
  await until(() => checked > 1);
  expect(bus.published).toEqual([]);
  answer = "ok";
  await until(() => bus.published.flat().length > 0);
  await events.close();
});
