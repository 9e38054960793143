import { Client } from "pg";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBus } from "../../src/platform/events/bus.ts";
import { migrateBus, pendingBusMigration } from "../../src/platform/events/migrate-bus.ts";
import { until } from "../support/conditions.ts";
import { createEmptyDatabase, createTestDatabase } from "../support/postgres.ts";
import type { TestDatabase } from "../support/postgres.ts";
import { quickContract } from "./bus-contract.ts";
import { arrived, collect, messageOf, messagesOf, open, ownGroup } from "./bus-support.ts";

const log = pino({ level: "warn" });
let database: TestDatabase;
let client: Client;

beforeAll(async () => {
  database = await createTestDatabase("events");
  client = new Client({ connectionString: database.url });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await database.drop();
});

describe("the bus on Postgres", () => {
  quickContract(() => ({ url: database.url, drop: () => undefined }));

  test("keeps nothing of what is done, and takes a message that it still has once", async () => {
    await using bus = await open(database);
    const group = ownGroup();
    await bus.declare([group]);
    const messages = messagesOf(group.topic, 20);
    await bus.publish(messages);
    await bus.publish([...messages, ...messages]);
    const rows = async () => {
      const { rows: kept } = await client.query("select from pgboss.job where name = $1", [group.name]);
      return kept.length;
    };
    expect(await rows()).toBe(20);
    const consumer = collect(bus, group);
    expect(await arrived(20, () => consumer.got)).toEqual([]);
    await consumer.close();
    expect(await rows()).toBe(0);
    expect(consumer.got.length).toBe(20);
  });

  test("a message that is being handled does not hold up whoever publishes it again", async () => {
    await using bus = await open(database);
    const group = ownGroup();
    await bus.declare([group]);
    const message = messageOf(group.topic, "0");
    await bus.publish([message]);
    const inHand = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    let times = 0;
    const consumer = bus.consume(group, {
      batch: 1,
      handle: () => {
        times += 1;
        inHand.resolve();
        return finish.promise;
      },
    });
    await inHand.promise;
    await bus.publish([message, messageOf(group.topic, "1")]);
    finish.resolve();
    await until(() => times === 2);
    await consumer.close();
    expect(times).toBe(2);
  });

  test("declaring waits for whoever publishes without knowing of it", async () => {
    await using bus = await open(database);
    await using other = await open(database);
    const first = ownGroup();
    await bus.declare([first]);
    const waiting = async (type: string) => {
      const { rows } = await client.query("select from pg_locks where locktype = $1 and not granted", [type]);
      return rows.length > 0;
    };
    const order: string[] = [];
    // Holds up the insert, for which it has read already who subscribed.
    await client.query("begin; lock table pgboss.job_common in share mode");
    const published = bus.publish(messagesOf(first.topic, 1)).then(() => order.push("published"));
    await until(() => waiting("relation"));
    const second = { name: `${first.name}-second`, topics: [first.topic] };
    const declared = other.declare([second]).then(() => order.push("declared"));
    await until(async () => order.length > 0 || (await waiting("advisory")));
    await client.query("rollback");
    await Promise.all([published, declared]);
    expect(order).toEqual(["published", "declared"]);
    await bus.publish(messagesOf(first.topic, 1));
    const { got } = collect(other, second);
    expect(await arrived(1, () => got)).toEqual([]);
  });
});

test("a database that is not migrated says what to do; consumers go on when it is", async () => {
  const empty = await createEmptyDatabase();
  try {
    expect(await pendingBusMigration(empty.url, log)).toEqual(["pg-boss schema 43"]);
    await using bus = await open(empty);
    const group = ownGroup();
    const { got } = collect(bus, group);
    await expect(bus.publish(messagesOf(group.topic, 1))).rejects.toThrow("npm run migrate -- events");
    const [one, two] = await Promise.all([migrateBus(empty.url, log), migrateBus(empty.url, log)]);
    expect([...one, ...two]).toContain("pg-boss schema 43");
    expect(await pendingBusMigration(empty.url, log)).toEqual([]);
    expect(await migrateBus(empty.url, log)).toEqual([]);
    await bus.declare([group]);
    await bus.publish(messagesOf(group.topic, 1));
    await until(() => got.length === 1);
  } finally {
    await empty.drop();
  }
});

test("an address of another kind is refused, and not quoted", async () => {
  const options = { name: "tests", log };
  await expect(openBus({ ...options, url: "kafka://me:secret@localhost" })).rejects.toThrow(
    "There is no bus for kafka:; use postgres: or amqp:",
  );
  const invalid = await openBus({ ...options, url: "amqp//me:secret@localhost" }).catch((error: unknown) => error);
  expect(String(invalid)).toMatch(/^Error: There is no bus for/);
  expect(String(invalid)).not.toContain("secret");
});
