import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { mergeEnvironment } from "../platform/environment.ts";
import { databaseUrl } from "./databases.ts";

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "databases-"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const running = (pid: number, databases: Record<string, string> = { orderdb: "postgres://embedded/orderdb" }) =>
  writeFile(join(dataDir, "connection.json"), JSON.stringify({ pid, databases }));

describe("databaseUrl", () => {
  const all = {
    ORDER_DATABASE_URL: "postgres://own/x",
    DATABASE_URL: "postgres://u:p@shared:6543/shop?sslmode=disable",
    POSTGRES_HOST: "parts",
  };

  test("--database, then the role's own, then the shared one, then its parts", async () => {
    await running(process.pid);
    const env = { ...all, DATA_DIR: dataDir };
    expect(databaseUrl("order", { env, given: { order: "postgres://given/y" } })).toBe("postgres://given/y");
    expect(databaseUrl("order", { env })).toBe("postgres://own/x");
    expect(databaseUrl("user", { env })).toBe(all.DATABASE_URL);
    expect(databaseUrl("user", { env: { POSTGRES_HOST: "parts" } })).toBe("postgres://postgres@parts:5432/userdb");
  });

  test("for several roles the shared one names the server", () => {
    expect(databaseUrl("user", { env: all, single: false })).toBe("postgres://u:p@shared:6543/userdb?sslmode=disable");
    expect(databaseUrl("events", { env: all, single: false })).toContain(":6543/events?");
    const env = { DATABASE_URL: "postgres://server" };
    expect(databaseUrl("user", { env })).toBe("postgres://server/userdb");
  });

  test("the parts may hold anything; empty means unset", () => {
    const parts = {
      POSTGRES_HOST: "::1",
      POSTGRES_PORT: "1",
      POSTGRES_USER: "a@b",
      POSTGRES_PASSWORD: "p:/?#",
      POSTGRES_DATABASE: "d b",
    };
    const url = new URL(
      databaseUrl("user", { env: mergeEnvironment({ ...parts, USER_DATABASE_URL: "", DATABASE_URL: " " }, {}) }),
    );
    expect([url.host, decodeURIComponent(url.username), decodeURIComponent(url.password), url.pathname]).toEqual([
      "[::1]:1",
      "a@b",
      "p:/?#",
      "/d%20b",
    ]);
  });

  test("with nothing given, the instance that runs on DATA_DIR; not one that was killed", async () => {
    const env = { DATA_DIR: dataDir };
    expect(() => databaseUrl("order", { env })).toThrow(/start the shop .* --database order=.*ORDER_DATABASE_URL/);
    await running(process.pid);
    expect(databaseUrl("order", { env })).toBe("postgres://embedded/orderdb");
    await running(process.pid, {});
    expect(() => databaseUrl("order", { env })).toThrow("still starting");
    await running(99_999_999);
    expect(() => databaseUrl("order", { env })).toThrow("No database is known for order");
  });
});
