import { sql } from "kysely";
import type { Kysely, Transaction } from "kysely";
import { Client } from "pg";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { createEmptyDatabase } from "../../tests/support/postgres.ts";
import type { TestDatabase } from "../../tests/support/postgres.ts";
import { withDatabase } from "./database-create.ts";
import { fromDatabaseError, isConnectionLost } from "./database-errors.ts";
import { afterCommit, ensureDatabase, onConstraint, openDatabase, transaction } from "./database.ts";
import type { Database } from "./database.ts";
import { defineErrors } from "./errors.ts";

interface Tables {
  counters: { id: number; value: number };
}

const silent = pino({ level: "silent" });
let created: TestDatabase;
let database: Database<Tables>;
let db: Kysely<Tables>;

beforeAll(async () => {
  created = await createEmptyDatabase();
});

beforeEach(async () => {
  database = openDatabase<Tables>({ url: created.url, role: "scratch", log: silent });
  db = database.db;
  await sql`drop table if exists counters`.execute(db);
  await sql`create table counters (id int constraint counters_pkey primary key,
    value int not null constraint counters_value_check check (value >= 0))`.execute(db);
  await db
    .insertInto("counters")
    .values([
      { id: 1, value: 1 },
      { id: 2, value: 2 },
    ])
    .execute();
});

afterEach(() => database.close());
afterAll(() => created.drop());

const valueOf = async (id: number) =>
  (await db.selectFrom("counters").select("value").where("id", "=", id).executeTakeFirstOrThrow()).value;
const setTo = (on: Kysely<Tables>, id: number, value: number) =>
  on.updateTable("counters").set({ value }).where("id", "=", id).execute();

describe("openDatabase", () => {
  test("int8 is a bigint, also in arrays; timestamptz a Date; numeric a string", async () => {
    const { rows } = await sql`select 9007199254740993::int8 as big, array[1, null, -2]::int8[] as bigs, 7 as small,
      '{}'::int8[] as none, 1.10::numeric as exact, '2026-01-02T03:04:05Z'::timestamptz as at`.execute(db);
    expect(rows).toEqual([
      {
        big: 9007199254740993n,
        bigs: [1n, null, -2n],
        small: 7,
        none: [],
        exact: "1.10",
        at: new Date("2026-01-02T03:04:05Z"),
      },
    ]);
  });

  test("sessions carry the role's name and the time limits", async () => {
    const { rows } = await sql`select current_setting('application_name') as name,
      current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
      current_setting('idle_in_transaction_session_timeout') as idle`.execute(db);
    expect(rows).toEqual([{ name: "commerce-scratch", statement: "10s", lock: "2s", idle: "10s" }]);
  });

  test("a statement that runs too long is cancelled by the server", async () => {
    const hasty = openDatabase<Tables>({ url: created.url, role: "hasty", log: silent, statementTimeoutMs: 50 });
    const error: unknown = await sql`select pg_sleep(20)`.execute(hasty.db).catch((caught: unknown) => caught);
    expect(fromDatabaseError(error)).toMatchObject({ reason: "DEADLINE" });
    await hasty.close();
  });

  test("losing connections, idle or in a transaction, fails the calls on them and not the process", async () => {
    const lost = transaction(db, async (trx) => {
      const pid = await backendOf(trx);
      await kill(pid);
      await setTo(trx, 1, 10);
    });
    expect(isConnectionLost(await lost.catch((error: unknown) => error))).toBe(true);
    await kill(await backendOf(db));
    await expect.poll(() => valueOf(1).catch(() => undefined)).toBe(1);
  });

  test("the error of the work survives a connection that breaks before its rollback", async () => {
    const failed = transaction(db, async (trx) => {
      await kill(await backendOf(trx));
      throw new Error("the reason");
    });
    await expect(failed).rejects.toThrow("the reason");
  });

  test("queries fail after close, which may be called twice", async () => {
    await database.close();
    await database.close();
    const late = db.selectFrom("counters").selectAll().execute();
    expect(fromDatabaseError(await late.catch((error: unknown) => error))).toBeDefined();
  });

  test("an exhausted pool is overload", async () => {
    const small = openDatabase<Tables>({ url: created.url, role: "small", log: silent, poolSize: 1 });
    await transaction(small.db, async () => {
      const error: unknown = await small.db
        .selectFrom("counters")
        .selectAll()
        .execute()
        .catch((caught: unknown) => caught);
      expect(fromDatabaseError(error)).toMatchObject({ reason: "OVERLOADED" });
    });
    await small.close();
  });
});

describe("transaction", () => {
  test("commits what the work did, and rolls back when it fails", async () => {
    await expect(transaction(db, (trx) => setTo(trx, 1, 10).then(() => "done"))).resolves.toBe("done");
    const failed = transaction(db, async (trx) => {
      await setTo(trx, 1, 99);
      throw new Error("no");
    });
    await expect(failed).rejects.toThrow("no");
    expect(await valueOf(1)).toBe(10);
  });

  test("runs the work again after a serialization failure, with the hooks of the last run only", async () => {
    let runs = 0;
    const hooks: number[] = [];
    const result = await transaction(
      db,
      async (trx) => {
        runs += 1;
        const { value } = await trx
          .selectFrom("counters")
          .select("value")
          .where("id", "=", 1)
          .executeTakeFirstOrThrow();
        if (runs <= 3) await setTo(db, 1, value + 10);
        const run = runs;
        afterCommit(trx, () => void hooks.push(run));
        await setTo(trx, 1, value + 1);
        return value + 1;
      },
      { isolation: "repeatable read" },
    );
    expect({ runs, result, hooks, value: await valueOf(1) }).toEqual({ runs: 4, result: 32, hooks: [4], value: 32 });
  });

  test("gives up after three retries", async () => {
    let runs = 0;
    const work = transaction(
      db,
      async (trx) => {
        runs += 1;
        await trx.selectFrom("counters").selectAll().execute();
        await setTo(db, 1, runs);
        await setTo(trx, 1, 0);
      },
      { isolation: "repeatable read" },
    );
    await expect(work).rejects.toMatchObject({ code: "40001" });
    expect(runs).toBe(4);
  });

  test("retries a deadlock", async () => {
    const both = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const cross = (first: number, second: number, mine: number) =>
      transaction(db, async (trx) => {
        await setTo(trx, first, 10 + first);
        both[mine]?.resolve();
        await both[1 - mine]?.promise;
        await setTo(trx, second, 10 + second);
      });
    await Promise.all([cross(1, 2, 0), cross(2, 1, 1)]);
    expect([await valueOf(1), await valueOf(2)]).toEqual([11, 12]);
  });

  test("refuses a query after the work is done", async () => {
    let leaked: Transaction<Tables> | undefined;
    await transaction(db, async (trx) => {
      leaked = trx;
      await setTo(trx, 1, 5);
    });
    await expect(setTo(leaked as Transaction<Tables>, 1, 6)).rejects.toThrow(/came after the work/);
    const compiled = db.updateTable("counters").set({ value: 7 }).compile();
    await expect((leaked as Transaction<Tables>).executeQuery(compiled)).rejects.toThrow(/already committed/);
    expect(await valueOf(1)).toBe(5);
  });

  test("no query that was not awaited takes effect outside of the transaction", async () => {
    const late: Promise<string>[] = [];
    const start = (query: Promise<unknown>) => {
      late.push(query.then(() => "done", String));
    };
    const compiled = db.updateTable("counters").set({ value: 77 }).where("id", "=", 2).compile();
    await transaction(db, async (trx) => {
      start(setTo(trx, 1, 50));
      start(setTo(trx, 1, 60));
      start(trx.executeQuery(compiled));
      await Promise.resolve();
    });
    const refused: unknown = expect.stringMatching(/came after the work|already committed/);
    expect(await Promise.all(late)).toEqual(["done", refused, refused]);
    expect([await valueOf(1), await valueOf(2)]).toEqual([50, 2]);
  });

  test("a failed query that was not awaited fails the commit instead of losing writes silently", async () => {
    const late: Promise<unknown>[] = [];
    const work = transaction(db, async (trx) => {
      await setTo(trx, 1, 50);
      late.push(setTo(trx, 1, -1));
      late[0]?.catch(() => undefined);
    });
    await expect(work).rejects.toThrow(/aborted|rolled back|current transaction/i);
    expect(await valueOf(1)).toBe(1);
  });

  test("afterCommit runs when others can see the change; its error fails nothing", async () => {
    const seen: number[] = [];
    await transaction(db, async (trx) => {
      await setTo(trx, 1, 8);
      afterCommit(trx, () => {
        throw new Error("a hook");
      });
      afterCommit(trx, async () => void seen.push(await valueOf(1)));
    });
    expect(seen).toEqual([8]);
    const failed = transaction(db, (trx) => {
      afterCommit(trx, () => void seen.push(0));
      return Promise.reject(new Error("no"));
    });
    await expect(failed).rejects.toThrow("no");
    expect(seen).toEqual([8]);
  });

  test("a nested call joins, its hooks wait for the outer commit, and a stricter isolation is refused", async () => {
    const steps: string[] = [];
    await transaction(db, async (trx) => {
      await transaction(trx, async (inner) => {
        expect(inner).toBe(trx);
        afterCommit(inner, () => void steps.push("hook"));
        await setTo(inner, 1, 3);
      });
      steps.push("outer");
      await expect(async () =>
        transaction(trx, () => Promise.resolve(), { isolation: "serializable" }),
      ).rejects.toThrow(/cannot become/);
    });
    expect(steps).toEqual(["outer", "hook"]);
  });
});

describe("onConstraint", () => {
  const { TAKEN, NEGATIVE } = defineErrors({
    TAKEN: ["already_exists", "taken"],
    NEGATIVE: ["invalid_argument", "negative"],
  });
  const insert = (id: number, value: number) => () => db.insertInto("counters").values({ id, value }).execute();
  const mapping = {
    counters_pkey: (cause: unknown) => TAKEN({ cause }),
    counters_value_check: (cause: unknown) => NEGATIVE({ cause }),
  };

  test("maps by the constraint's name", async () => {
    await expect(onConstraint(mapping, insert(1, 1))).rejects.toMatchObject({ reason: "TAKEN" });
    await expect(onConstraint(mapping, insert(3, -1))).rejects.toMatchObject({ reason: "NEGATIVE" });
    await expect(onConstraint(mapping, insert(4, 4))).resolves.toBeDefined();
  });

  test("leaves the rest alone", async () => {
    await expect(onConstraint({}, insert(1, 1))).rejects.toMatchObject({ code: "23505" });
    await expect(onConstraint(mapping, () => sql`select nothing`.execute(db))).rejects.toMatchObject({ code: "42703" });
  });
});

describe("ensureDatabase", () => {
  const name = `ensured "${process.pid}" ü`;
  const url = () => withDatabase(inject("postgresUrl"), name);

  test("creates it once, however many ask", async () => {
    await Promise.all(Array.from({ length: 5 }, () => ensureDatabase(url())));
    const client = new Client({ connectionString: url() });
    await client.connect();
    const { rows } = await client.query("select current_database() as name");
    await client.end();
    expect(rows).toEqual([{ name }]);
    await admin((server) => server.query(`drop database ${server.escapeIdentifier(name)} with (force)`));
  });

  test("says what to do where the account may not, without its password", async () => {
    const role = `guest_${process.pid}`;
    await admin((server) => server.query(`create role ${role} login password 'hush'`));
    const guest = new URL(url());
    guest.username = role;
    guest.password = "hush";
    const error: unknown = await ensureDatabase(guest.href).catch((caught: unknown) => caught);
    expect(String(error)).toMatch(new RegExp(`${role}.* may not create it.*createdb`));
    expect(String(error)).not.toContain("hush");
    await admin((server) => server.query(`drop role ${role}`));
  });
});

async function admin(work: (server: Client) => Promise<unknown>): Promise<void> {
  const server = new Client({ connectionString: inject("postgresUrl") });
  await server.connect();
  try {
    await work(server);
  } finally {
    await server.end();
  }
}

async function backendOf(on: Kysely<Tables>): Promise<number> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(on);
  return rows[0]?.pid ?? 0;
}

const kill = (pid: number) => admin((server) => server.query("select pg_terminate_backend($1, 5000)", [pid]));
