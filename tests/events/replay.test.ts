import { expect, test } from "vitest";
import { createInbox } from "../../src/platform/events/inbox.ts";
import { startRelay } from "../../src/platform/events/relay.ts";
import { newId } from "../../src/platform/id.ts";
import { outputOf, runNode } from "../support/commands.ts";
import { until } from "../support/conditions.ts";
import { emit, openOutbox, openTestDatabase, silent } from "../support/events.ts";
import { createEffects, effectConsumer, effectsOf } from "../support/events-effects.ts";
import { createMemoryBus } from "../support/memory-bus.ts";

test("what a bus has lost is published again by a command, and applied once", async () => {
  await using database = await openTestDatabase("user");
  await using consumer = await openTestDatabase("notification");
  await createEffects(consumer.db);
  const inbox = createInbox({ db: consumer.db, group: "mailing", consumers: [effectConsumer()], log: silent });
  const bus = createMemoryBus();
  const relay = startRelay({
    db: database.again(),
    role: "user",
    bus,
    groups: [{ name: "mailing", topics: ["user"] }],
    log: silent,
  });
  try {
    const since = new Date(Date.now() - 1_000).toISOString();
    const userId = newId();
    await emit(database.db, openOutbox(relay), userId, 20);
    const published = () => bus.published.flat();
    await until(() => new Set(published().map(({ id }) => id)).size === 20);
    await until(async () => (await relay.lag()).unpublished === 0);
    const before = published().length;
    await inbox.receive(
      published()
        .slice(0, 7)
        .map(({ body }) => body),
    );
    const replay = (...args: string[]) =>
      runNode("src/commands/replay-events.ts", ["user", "--database", database.url, ...args]);
    expect(outputOf(await replay("--since", since))).toBe("20 events of user are published again.\n");
    relay.wake();
    await until(() => published().length === before + 20);
    await inbox.receive(
      published()
        .slice(before)
        .map(({ body }) => body),
    );
    expect((await effectsOf(consumer.db, userId)).map(Number)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));

    expect(await replay("--since", "yesterday")).toMatchObject({ code: 1, stdout: "" });
    expect((await replay("--since", "2999-01-01T00:00:00Z")).stdout).toBe("0 events of user are published again.\n");
    expect(await replay()).toMatchObject({ code: 1, stdout: "" });
  } finally {
    await relay.close();
  }
});
