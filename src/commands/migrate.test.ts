import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bareEnv } from "../../tests/support/environment.ts";
import { createEmptyDatabase } from "../../tests/support/postgres.ts";
import type { TestDatabase } from "../../tests/support/postgres.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of the project with roles of its own: the command finds its migrations beside its sources. */
let project: string;
let cart: TestDatabase;
let wish: TestDatabase;
let events: TestDatabase;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "migrate-command-"));
  for (const part of ["src/platform", "src/commands", "kysely.config.ts", "package.json"]) {
    await cp(join(ROOT, part), join(project, part), { recursive: true });
  }
  await symlink(join(ROOT, "node_modules"), join(project, "node_modules"), "junction");
  await migration("cart", "202601010000-carts", "create table carts (id int)", "drop table carts");
  await migration("wish", "202601010000-wishes", "create table wishes (id int)", "drop table wishes");
  [cart, wish, events] = await Promise.all([createEmptyDatabase(), createEmptyDatabase(), createEmptyDatabase()]);
});

afterAll(async () => {
  await Promise.all([cart.drop(), wish.drop(), events.drop()]);
  await rm(project, { recursive: true, force: true });
});

async function migration(role: string, name: string, up: string, down: string): Promise<void> {
  await mkdir(join(project, "migrations", role), { recursive: true });
  const text = `import { sql } from "kysely";
import type { Kysely } from "kysely";
export const up = (db: Kysely<unknown>) => sql\`${up}\`.execute(db);
export const down = (db: Kysely<unknown>) => sql\`${down}\`.execute(db);
`;
  await writeFile(join(project, "migrations", role, `${name}.ts`), text);
}

function migrate(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return migrateWith({ BUS_URL: events.url }, ...args);
}

function migrateWith(
  given: Record<string, string>,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  const databases = ["--database", `cart=${cart.url}`, "--database", `wish=${wish.url}`];
  const env = { ...bareEnv, ...given };
  return new Promise((resolve) => {
    const line = [join(project, "src/commands/migrate.ts"), ...args, ...databases];
    const child = execFile(process.execPath, line, { cwd: project, env }, (_error, out, err) => {
      resolve({ code: child.exitCode ?? -1, out, err });
    });
  });
}

test("applies, lists, and undoes", async () => {
  const up = await migrate("all");
  expect(up.err).toBe("");
  expect(up.code).toBe(0);
  expect(up.out).toMatch(
    /cart: database test_empty_[0-9a-f]+ on 127\.0\.0\.1[\s\S]*✓\W*202601010000-carts[\s\S]*wish: /,
  );
  const down = await migrate("cart", "down");
  expect(down).toMatchObject({ code: 0, out: expect.stringMatching(/Undone 1 migration/) as string });
  const status = await migrate("all", "status");
  expect(status.out).toMatch(/\[ \] 202601010000-carts[\s\S]*\[\W*✓\W*\] 202601010000-wishes/);
});

test("all goes on after a failure, names role and migration, and exits 1", async () => {
  await migration("cart", "202601020000-again", "create table carts (id int)", "select 1");
  await migration("wish", "202601020000-more", "create table more (id int)", "drop table more");
  const { code, err, out } = await migrate("all");
  expect(code).toBe(1);
  expect(err.trim()).toBe(
    '1 of 3 failed:\n  cart: migrations/cart/202601020000-again.ts: error: relation "carts" already exists',
  );
  expect(out).toContain("202601020000-more");
});

test("wrong usage exits 2 and says what there is", async () => {
  expect(await migrate("order")).toMatchObject({
    code: 2,
    err: 'There is no role "order" with migrations: all, cart, wish, events.\n',
  });
  expect(await migrate("all", "sideways")).toMatchObject({
    code: 2,
    err: expect.stringContaining("up, down, status") as string,
  });
  expect((await migrate()).code).toBe(2);
});

test("the bus's schema goes with all of them, or alone; it goes forward only", async () => {
  const fresh = await createEmptyDatabase();
  const gone = new URL(fresh.url);
  await fresh.drop();
  const bus = ["--database", `events=${gone.href}`];
  expect(await migrate("events", "status", ...bus)).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^\n1 of 1 failed:\n {2}events: database "\w+" does not exist\n$/) as string,
  });
  expect(await migrate("events", ...bus)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/events: database test_empty_\w+ on 127[^\n]*\n✓ pg-boss schema \d+\n$/) as string,
  });
  await fresh.drop();
  expect((await migrate("events", "status")).out).toMatch(/\[✓\] pg-boss schema \d+\n$/);
  expect((await migrate("events")).out).toContain("✓ Nothing is pending");
  expect(await migrate("events", "down")).toMatchObject({
    code: 2,
    err: "The schema of events is pg-boss's; it goes forward only.\n",
  });
});

test("a broker has nothing to migrate, and without an address the command says where it may be given", async () => {
  expect(await migrateWith({ BUS_URL: "amqp://me:secret@localhost" }, "events")).toMatchObject({
    code: 0,
    out: "\nevents: on a broker (amqp:) there is nothing to migrate\n",
  });
  const { code, err } = await migrateWith({ DATA_DIR: join(project, "no-shop") }, "events");
  expect(code).toBe(1);
  expect(err).toContain("--database events=postgres://…, BUS_URL or DATABASE_URL");
});
