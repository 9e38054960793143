import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Broker } from "./bus-support.ts";
import { arrived, collect, messageOf, messagesOf, missingOf, open, ownGroup, textOf } from "./bus-support.ts";

/** What every bus does, in little time: nothing is stopped, and there is one process. */
export function quickContract(broker: () => Broker): void {
  test("each of two groups gets all of its topics and nothing else", async () => {
    await using bus = await open(broker());
    const [first, second] = [ownGroup("first"), ownGroup("second")];
    const both = { name: second.name, topics: [first.topic, second.topic] };
    await bus.declare([first, both]);
    const [one, two] = [collect(bus, first), collect(bus, both)];
    await bus.publish([...messagesOf(first.topic, 50), ...messagesOf(second.topic, 50, 50)]);
    await until(() => one.got.length >= 50 && two.got.length >= 100);
    expect([...one.got].sort()).toEqual(
      messagesOf("", 50)
        .map(({ body }) => textOf(body))
        .sort(),
    );
    expect(missingOf(100, two.got)).toEqual([]);
  });

  test("a group that is declared gets what is published before it first runs", async () => {
    await using bus = await open(broker());
    const group = ownGroup();
    await Promise.all([bus.declare([group]), bus.declare([group]), bus.declare([group])]);
    await bus.publish(messagesOf(group.topic, 20));
    await using other = await open(broker());
    const { got } = collect(other, group);
    expect(await arrived(20, () => got)).toEqual([]);
  });

  test("a topic that nobody subscribed to is published to nobody", async () => {
    await using bus = await open(broker());
    await expect(bus.publish(messagesOf(ownGroup().topic, 3))).resolves.toBeUndefined();
    await expect(bus.publish([])).resolves.toBeUndefined();
  });

  test("a consumer makes its queue, and gets the topics that are declared for it, then and later", async () => {
    await using bus = await open(broker());
    const [group, more] = [ownGroup(), ownGroup()];
    const before = collect(bus, group);
    await bus.publish([messageOf(group.topic, "too early")]);
    await bus.declare([group]);
    await bus.publish([messageOf(group.topic, "0")]);
    await until(() => before.got.length > 0);
    expect(before.got).toEqual(["0"]);
    await before.close();
    await bus.declare([{ name: group.name, topics: [group.topic, more.topic] }]);
    await bus.publish([messageOf(more.topic, "later")]);
    const after = collect(bus, group);
    await until(() => after.got.includes("later"));
    expect(after.got).toContain("later");
  });

  test("what a handler rejects comes again, after pauses that grow", async () => {
    await using bus = await open(broker());
    const group = ownGroup();
    await bus.declare([group]);
    await bus.publish(messagesOf(group.topic, 5));
    const tries: number[] = [];
    const got: string[] = [];
    bus.consume(group, {
      batch: 10,
      handle: (bodies) => {
        tries.push(performance.now());
        if (tries.length <= 4) return Promise.reject(new Error("not now"));
        got.push(...bodies.map(textOf));
        return Promise.resolve();
      },
    });
    expect(await arrived(5, () => got)).toEqual([]);
    const pauses = tries.slice(1, 5).map((at, n) => at - (tries[n] ?? 0));
    expect(pauses[3]).toBeGreaterThan(2 * (pauses[0] ?? 0));
    expect(pauses[0]).toBeGreaterThan(90);
    const told = () => bus.lines.map(({ msg }) => msg).filter((msg) => String(msg).startsWith("events "));
    await until(() => told().length === 2);
    expect(told()).toEqual(["events could not be taken over; they come again", "events are taken over again"]);
  });

  test("closing waits for what is being handled, and others get the rest", async () => {
    await using bus = await open(broker());
    const group = ownGroup();
    await bus.declare([group]);
    await bus.publish(messagesOf(group.topic, 10));
    const inHand = Promise.withResolvers<string[]>();
    const finish = Promise.withResolvers<void>();
    const first = bus.consume(group, {
      batch: 3,
      handle: (bodies) => {
        inHand.resolve(bodies.map(textOf));
        return finish.promise;
      },
    });
    const handled = await inHand.promise;
    let closed = false;
    const closing = first.close().then(() => (closed = true));
    await using other = await open(broker());
    const second = collect(other, group);
    // What the broker had sent ahead to the first comes back only when that is closed.
    await bus.publish([messageOf(group.topic, "10")]);
    await until(() => second.got.includes("10"));
    expect(closed).toBe(false);
    expect(second.got.filter((text) => handled.includes(text))).toEqual([]);
    finish.resolve();
    await closing;
    expect(await arrived(11, () => [...handled, ...second.got])).toEqual([]);
    expect(second.got.filter((text) => handled.includes(text))).toEqual([]);
  });

  test("a message is kept however often it was handed out", async () => {
    await using bus = await open(broker());
    const group = ownGroup();
    await bus.declare([group]);
    await bus.publish([messageOf(group.topic, "0")]);
    for (let times = 0; times < 25; times += 1) {
      const seen = Promise.withResolvers<void>();
      const consumer = bus.consume(group, {
        batch: 1,
        handle: () => {
          seen.resolve();
          return Promise.reject(new Error("not now"));
        },
      });
      await seen.promise;
      await consumer.close();
    }
    const { got } = collect(bus, group);
    expect(await arrived(1, () => got)).toEqual([]);
  });

  test("a body of 1 MiB arrives as it was", async () => {
    await using bus = await open(broker());
    const group = ownGroup();
    await bus.declare([group]);
    const bodies = [randomBytes(1_048_576), Buffer.alloc(0), Buffer.from([0, 255, 0])];
    await bus.publish(bodies.map((body) => ({ ...messageOf(group.topic, ""), body })));
    const got: Uint8Array[] = [];
    bus.consume(group, {
      batch: 10,
      handle: (some) => {
        got.push(...some);
        return Promise.resolve();
      },
    });
    await until(() => got.length === 3);
    for (const body of bodies) expect(got.some((other) => body.equals(other))).toBe(true);
  });

  test("a broadcast reaches the listeners of its channel, and one that throws harms nobody", async () => {
    await using bus = await open(broker());
    await using other = await open(broker());
    const channel = ownGroup("channel").name;
    const [here, there, elsewhere]: string[][] = [[], [], []];
    bus.listen(channel, () => {
      throw new Error("a listener's own fault");
    });
    bus.listen(channel, (body) => here?.push(textOf(body)));
    other.listen(`${channel}-else`, (body) => elsewhere?.push(textOf(body)));
    const gone = other.listen(channel, (body) => there?.push(textOf(body)));
    // It reaches those who listen already.
    await until(async () => {
      await bus.broadcast(channel, Buffer.from("early"));
      return here?.includes("early") === true && there?.includes("early") === true;
    });
    await gone.close();
    await bus.broadcast(channel, Buffer.alloc(5_000, "x"));
    await bus.broadcast(channel, Buffer.alloc(5_001, "y"));
    await bus.broadcast(channel, Buffer.from("last"));
    await until(() => here?.includes("last") === true);
    expect(here?.filter((text) => text.startsWith("x"))).toEqual(["x".repeat(5_000)]);
    expect(here?.filter((text) => text.startsWith("y"))).toEqual([]);
    expect(there).not.toContain("last");
    expect(elsewhere).toEqual([]);
  });
}
