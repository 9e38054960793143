import { randomBytes } from "node:crypto";
import { Client } from "pg";
import { inject } from "vitest";
import { withDatabase } from "../../src/platform/database-create.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** The throwaway server of this run, by the URL of its maintenance database. */
    postgresUrl: string;
  }
}

export interface TestDatabase {
  readonly url: string;
  /** Ends the sessions that are left and removes it. */
  readonly drop: () => Promise<void>;
}

/** The database that each test database of a role is a copy of. */
export function templateOf(role: string): string {
  return `template_${role}`;
}

/** A database of its own for a test file, with the role's migrations applied. */
export function createTestDatabase(role: string): Promise<TestDatabase> {
  return create(role, templateOf(role));
}

/** A database with nothing in it. */
export function createEmptyDatabase(): Promise<TestDatabase> {
  return create("empty", "template0");
}

async function create(role: string, template: string): Promise<TestDatabase> {
  const server = inject("postgresUrl");
  const name = `test_${role}_${randomBytes(6).toString("hex")}`;
  // 35 ms; the default, by way of the log, takes 75 ms.
  const from = (client: Client) => `template ${client.escapeIdentifier(template)} strategy file_copy`;
  await execute(server, (client) => `create database ${name} ${from(client)}`);
  return {
    url: withDatabase(server, name),
    drop: () => execute(server, () => `drop database if exists ${name} with (force)`),
  };
}

async function execute(url: string, sql: (client: Client) => string): Promise<void> {
  const client = new Client({ connectionString: url, application_name: "commerce-tests" });
  await client.connect();
  try {
    await client.query(sql(client));
  } finally {
    await client.end();
  }
}
