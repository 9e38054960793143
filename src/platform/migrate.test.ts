import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createEmptyDatabase } from "../../tests/support/postgres.ts";
import type { TestDatabase } from "../../tests/support/postgres.ts";
import { openDatabase } from "./database.ts";
import { databaseName, migrateDatabase, migratedRoles, migrationNames, pendingMigrations } from "./migrate.ts";

const silent = pino({ level: "silent" });
const role = "scratch";
const FIRST = "202601010000-notes";
const SECOND = "202601020000-authors";
const THIRD = "202601030000-later";

let database: TestDatabase;
let migrations: string;

beforeEach(async () => {
  migrations = await mkdtemp(join(tmpdir(), "migrations-"));
  await mkdir(join(migrations, role));
  await writeFile(join(migrations, role, "schema.sql"), "-- the dump");
  await add(FIRST, "create table notes (id int)", "drop table notes");
  await add(SECOND, "create table authors (id int)", "drop table authors");
  database = await createEmptyDatabase();
});

afterEach(async () => {
  await database.drop();
  await rm(migrations, { recursive: true, force: true });
});

/** A migration of raw statements; `db.executeQuery` needs no import, so the file may lie anywhere. */
async function add(name: string, up: string, down: string): Promise<void> {
  const run = (statement: string) =>
    `db.executeQuery({ sql: ${JSON.stringify(statement)}, parameters: [], query: { kind: "RawNode" }, queryId: { queryId: "q" } })`;
  const text = `export const up = (db) => ${run(up)};\nexport const down = (db) => ${run(down)};\n`;
  await writeFile(join(migrations, role, `${name}.ts`), text);
}

const migrate = () => migrateDatabase({ url: database.url, role, log: silent, migrations });

async function pending(): Promise<string[]> {
  const { db, close } = openDatabase<unknown>({ url: database.url, role, log: silent });
  try {
    return await pendingMigrations(db, role, migrations);
  } finally {
    await close();
  }
}

describe("migrateToLatest", () => {
  test("applies what is pending, once", async () => {
    expect(await pending()).toEqual([FIRST, SECOND]);
    expect(await migrate()).toEqual([FIRST, SECOND]);
    expect(await pending()).toEqual([]);
    expect(await migrate()).toEqual([]);
    await add(THIRD, "create table later (id int)", "drop table later");
    expect(await pending()).toEqual([THIRD]);
    expect(await migrate()).toEqual([THIRD]);
  });

  test("several processes at once: one applies, the others wait", async () => {
    const applied = await Promise.all(Array.from({ length: 4 }, migrate));
    expect(applied.flat().sort()).toEqual([FIRST, SECOND]);
  });

  test("names the migration that failed, and applies nothing", async () => {
    await add(THIRD, "create table notes (id int)", "select 1");
    await expect(migrate()).rejects.toThrow(
      /migrations\/scratch\/202601030000-later\.ts failed, nothing was applied: /,
    );
    expect(await pending()).toEqual([FIRST, SECOND, THIRD]);
  });

  test("leaves a database alone that a newer build has migrated", async () => {
    await migrate();
    await rm(join(migrations, role, `${SECOND}.ts`));
    expect(await migrate()).toEqual([]);
    expect(await pending()).toEqual([]);
  });

  test("a statement may take longer than a query of the role may", async () => {
    await add(
      THIRD,
      "do $$ begin if current_setting('statement_timeout') <> '0' then raise 'limited'; end if; end $$",
      "",
    );
    expect(await migrate()).toContain(THIRD);
  });
});

describe("the migrations folder", () => {
  test("one folder per role, one file per migration; schema.sql is none", async () => {
    await mkdir(join(migrations, "events"));
    expect(await migratedRoles(migrations)).toEqual(["events", role]);
    expect(await migratedRoles(join(migrations, "missing"))).toEqual([]);
    expect(await migrationNames(role, migrations)).toEqual([FIRST, SECOND]);
    expect([databaseName("order"), databaseName("events")]).toEqual(["orderdb", "events"]);
  });

  test("a file that would be passed over, or cannot be undone, is an error", async () => {
    await writeFile(join(migrations, role, "notes.ts"), "");
    await expect(pending()).rejects.toThrow("migrations/scratch/notes.ts: call it <yyyymmddhhmm>-<what>.ts.");
    await rm(join(migrations, role, "notes.ts"));
    await writeFile(join(migrations, role, `${THIRD}.ts`), "export const up = async () => {};");
    await expect(migrate()).rejects.toThrow("202601030000-later.ts must export up and down");
  });
});
