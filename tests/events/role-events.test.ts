import { sql } from "kysely";
import { expect, test } from "vitest";
import { createRoleEvents } from "../../src/platform/events/role-events.ts";
import { userEvents } from "../../src/roles/user/events.ts";
import { openTestDatabase, silent } from "../support/events.ts";
import { createMemoryBus } from "../support/memory-bus.ts";

test("numbers that the database does not tell in time are left out: they make no role unready", async () => {
  await using database = await openTestDatabase("user");
  const events = createRoleEvents({
    role: "user",
    declaration: userEvents,
    db: database.db,
    groups: [],
    bus: createMemoryBus(),
    log: silent,
  });
  events.start([]);
  expect(await events.numbers()).toEqual({ "user.unpublished": 0, "user.oldest_unpublished_seconds": 0 });
  await database
    .again()
    .transaction()
    .execute(async (trx) => {
      await sql`lock table outbox in access exclusive mode`.execute(trx);
      expect(await events.numbers()).toEqual({});
    });
  await events.close();
});
