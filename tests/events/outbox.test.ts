import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { transaction } from "../../src/platform/database.ts";
import { newId } from "../../src/platform/id.ts";
import { withTraceparent } from "../../src/platform/trace.ts";
import type { OpenDatabase } from "../support/events.ts";
import { emit, openOutbox, openTestDatabase, passwordChanged } from "../support/events.ts";

let database: OpenDatabase;
beforeAll(async () => {
  database = await openTestDatabase("user");
});
afterAll(() => database[Symbol.asyncDispose]());

async function sequencesOf(aggregateId: string): Promise<number[]> {
  const { rows } = await sql<{ sequence: number }>`
    select sequence::int as sequence from outbox where aggregate_id = ${aggregateId}::uuid order by position
  `.execute(database.db);
  return rows.map(({ sequence }) => sequence);
}

describe("an outbox", () => {
  test("numbers an aggregate's events without gaps, by 50 emitters at once of which some roll back", async () => {
    const { db } = database;
    const outbox = openOutbox();
    const id = newId();
    const emitters = Array.from({ length: 50 }, (_, number) =>
      transaction(db, async (trx) => {
        await outbox.emit(trx, id, passwordChanged(id), new Date());
        if (number % 3 === 0) throw new Error("rolled back");
      }).catch((error: unknown) => {
        if (!(error instanceof Error && error.message === "rolled back")) throw error;
      }),
    );
    await Promise.all(emitters);
    // The order of the positions too: the relay goes by them.
    expect(await sequencesOf(id)).toEqual(Array.from({ length: 33 }, (_, index) => index + 1));
  });

  test("emits nothing of a change that is rolled back", async () => {
    let woken = 0;
    const outbox = openOutbox({ wake: () => void (woken += 1) });
    const id = newId();
    const change = transaction(database.db, async (trx) => {
      await outbox.emit(trx, id, passwordChanged(id), new Date());
      throw new Error("rolled back");
    });
    await expect(change).rejects.toThrow("rolled back");
    expect(await sequencesOf(id)).toEqual([]);
    expect(woken).toBe(0);
    await emit(database.db, outbox, id);
    expect(await sequencesOf(id)).toEqual([1]);
    expect(woken).toBe(1);
  });

  test("wants the transaction of the change", async () => {
    const outbox = openOutbox();
    const other = database.db
      .transaction()
      .execute((trx) => outbox.emit(trx, newId(), passwordChanged(newId()), new Date()));
    await expect(other).rejects.toThrow("afterCommit");
  });

  test("writes the first event as a part of another statement, where its condition holds", async () => {
    const outbox = openOutbox();
    const record = async (id: string, holds: boolean) => {
      const event = outbox.first(id, passwordChanged(id), new Date(), sql`exists (select from recorded)`);
      await sql`with recorded as (select 1 where ${holds}::boolean), ${event} select 1`.execute(database.db);
    };
    const [kept, left] = [newId(), newId()];
    await record(kept, true);
    await record(left, false);
    await emit(database.db, outbox, kept);
    await emit(database.db, outbox, left);
    expect(await sequencesOf(kept)).toEqual([1, 2]);
    expect(await sequencesOf(left)).toEqual([1]);
  });

  test("keeps what the event is, and the trace context of the call", async () => {
    const id = newId();
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    await withTraceparent(traceparent, () => emit(database.db, openOutbox(), id));
    const { rows } = await sql`
      select type, version, traceparent, partition, published_at from outbox where aggregate_id = ${id}::uuid
    `.execute(database.db);
    const partition = Number.parseInt(id.slice(-1), 16);
    expect(rows).toEqual([{ type: "user.password_changed", version: 1, traceparent, partition, published_at: null }]);
  });
});
