import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEmptyDatabase } from "../../tests/support/postgres.ts";
import type { TestDatabase } from "../../tests/support/postgres.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of the project with roles of its own: the command finds its migrations beside its sources. */
let project: string;
let cart: TestDatabase;
let wish: TestDatabase;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "migrate-command-"));
  for (const part of ["src/platform", "src/commands", "kysely.config.ts", "package.json"]) {
    await cp(join(ROOT, part), join(project, part), { recursive: true });
  }
  await symlink(join(ROOT, "node_modules"), join(project, "node_modules"), "junction");
  await migration("cart", "202601010000-carts", "create table carts (id int)", "drop table carts");
  await migration("wish", "202601010000-wishes", "create table wishes (id int)", "drop table wishes");
  [cart, wish] = await Promise.all([createEmptyDatabase(), createEmptyDatabase()]);
});

afterAll(async () => {
  await Promise.all([cart.drop(), wish.drop()]);
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
  const given = ["--database", `cart=${cart.url}`, "--database", `wish=${wish.url}`];
  const env = { PATH: process.env["PATH"] };
  return new Promise((resolve) => {
    const line = [join(project, "src/commands/migrate.ts"), ...args, ...given];
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
    '1 of 2 failed:\n  cart: migrations/cart/202601020000-again.ts: error: relation "carts" already exists',
  );
  expect(out).toContain("202601020000-more");
});

test("wrong usage exits 2 and says what there is", async () => {
  expect(await migrate("order")).toMatchObject({
    code: 2,
    err: 'There is no role "order" with migrations: all, cart, wish.\n',
  });
  expect(await migrate("all", "sideways")).toMatchObject({
    code: 2,
    err: expect.stringContaining("up, down, status") as string,
  });
  expect((await migrate()).code).toBe(2);
});
