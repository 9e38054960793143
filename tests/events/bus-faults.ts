import { expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Broker } from "./bus-support.ts";
import { arrived, collect, messageOf, messagesOf, open, ownGroup, report, taken, textOf } from "./bus-support.ts";
import { startMember } from "./members.ts";

/** The full minute: BUS_DOWN_SECONDS=60. */
const DOWN_MS = 1_000 * Number(process.env["BUS_DOWN_SECONDS"] ?? 5);

/** Longer than any sign of life that a broker waits for here. */
const LONG_MS = 13_000;

/** What a bus does when processes and brokers end. The broker's tests of other kinds do not run beside it. */
export function faultContract(broker: () => Broker): void {
  test("competing processes of a group share its messages, and none is lost", async () => {
    const { url } = broker();
    const group = ownGroup();
    await using bus = await open({ url });
    await bus.declare([group]);
    await using one = startMember({ url, consume: { group, batch: 5 } });
    await using two = startMember({ url, consume: { group, batch: 5 } });
    await using three = startMember({ url, consume: { group, batch: 5 } });
    const members = [one, two, three];
    let count = 0;
    const all = () => members.flatMap(({ got }) => got);
    // Until each of them took part, so that their starts do not matter.
    await until(async () => {
      await bus.publish(messagesOf(group.topic, 20, count));
      count += 20;
      return members.every(({ got }) => got.length > 0);
    }, 30_000);
    await bus.publish(messagesOf(group.topic, 500, count));
    count += 500;
    expect(await arrived(count, all, 30_000)).toEqual([]);
    report(`${String(count)} messages to ${members.map(({ got }) => got.length).join(" + ")}`);
    expect(all().length).toBe(count);
  });

  test("a broadcast reaches three processes", async () => {
    const { url } = broker();
    const channel = ownGroup("channel").name;
    await using one = startMember({ url, listen: channel });
    await using two = startMember({ url, listen: channel });
    await using three = startMember({ url, listen: channel });
    await using bus = await open({ url });
    await until(async () => {
      await bus.broadcast(channel, Buffer.from("early"));
      return [one, two, three].every(({ got }) => got.length > 0);
    }, 30_000);
    await bus.broadcast(channel, Buffer.from("last"));
    await until(() => [one, two, three].every(({ got }) => got.includes("last")));
    expect(one.got.filter((text) => text === "last")).toHaveLength(1);
  });

  test("what a killed process had in hand comes to another one", async () => {
    const { url } = broker();
    const group = ownGroup();
    await using bus = await open({ url });
    await bus.declare([group]);
    await bus.publish(messagesOf(group.topic, 10));
    await using member = startMember({ url, consume: { group, batch: 10, hangs: true } });
    await until(() => member.got.length > 0, 30_000);
    const { got } = collect(bus, group);
    const before = performance.now();
    await member.kill();
    expect(await arrived(10, () => got, 15_000)).toEqual([]);
    report(`redelivered ${Math.round(performance.now() - before).toString()} ms after kill -9`);
  });

  test("what is handled for long is not handed to another one", async () => {
    await using bus = await open(broker());
    await using other = await open(broker());
    const group = ownGroup();
    await bus.declare([group]);
    await bus.publish([messageOf(group.topic, "0")]);
    const finish = Promise.withResolvers<void>();
    const inHand = Promise.withResolvers<void>();
    const consumer = bus.consume(group, {
      batch: 1,
      handle: () => {
        inHand.resolve();
        return finish.promise;
      },
    });
    await inHand.promise;
    const { got } = collect(other, group);
    const started = performance.now();
    await until(() => got.length > 0 || performance.now() - started > LONG_MS, 2 * LONG_MS);
    finish.resolve();
    await consumer.close();
    await other.publish([messageOf(group.topic, "1")]);
    await until(() => got.includes("1"));
    expect(got).toEqual(["1"]);
  });

  test("connections that break lose nothing", async () => {
    const { url, drop } = broker();
    await using bus = await open({ url });
    const group = ownGroup();
    await until(() =>
      bus.declare([group]).then(
        () => true,
        () => false,
      ),
    );
    const { got } = collect(bus, group);
    for (let round = 0; round < 10; round += 1) {
      const messages = messagesOf(group.topic, 100, 100 * round);
      if (round % 3 === 0) await until(() => got.length > 0 || round === 0);
      const first = taken(bus, messages);
      drop();
      if (!(await first)) await until(() => taken(bus, messages), 30_000);
    }
    expect(await arrived(1_000, () => got, 30_000)).toEqual([]);
    report(`1000 messages over 10 broken connections, ${String(got.length - 1_000)} of them twice`);
  });

  test("nothing is lost by a crash of the broker, nor while it is down", async ({ skip }) => {
    const { url, settle, crash, start } = broker();
    if (!crash || !start) return skip("the broker is not ours to stop");
    const group = ownGroup();
    {
      await using early = await open({ url });
      await early.declare([group]);
      await settle?.();
    }
    await using bus = await open({ url });
    await using member = startMember({ url, consume: { group, batch: 20 } });
    const { got } = collect(bus, group);
    const texts = () => [...got, ...member.got];
    await until(async () => {
      await bus.publish([messageOf(group.topic, "hello")]);
      return got.length > 0 && member.got.length > 0;
    }, 30_000);

    // Publishing goes on as a relay does it: what is not certain is published again.
    let next = 0;
    let refused = 0;
    let stopping = false;
    const stopped = () => stopping;
    // Also where this test fails.
    using _ = { [Symbol.dispose]: () => (stopping = true) };
    const publishing = Array.from({ length: 8 }, async () => {
      while (!stopped()) {
        const messages = messagesOf(group.topic, 25, next);
        next += 25;
        await until(async () => {
          const done = await taken(bus, messages);
          refused += done ? 0 : 1;
          return done || stopped();
        }, DOWN_MS + 120_000);
        // So that a full minute is no load test.
        await until(() => next - texts().length < 5_000 || stopped(), DOWN_MS + 120_000);
      }
    });
    await until(() => texts().length > 200, 30_000);
    await crash();
    const down = performance.now();
    await using late = await open({ url });
    const lateGroup = { name: `${group.name}-late`, topics: [group.topic] };
    const lateGot = collect(late, lateGroup);
    await expect(late.declare([lateGroup])).rejects.toBeInstanceOf(Error);
    expect(await taken(late, [messageOf(group.topic, "nobody")])).toBe(false);
    await late.broadcast("any", Buffer.from("nobody"));
    await until(() => performance.now() - down > DOWN_MS, DOWN_MS + 60_000);
    await start();
    const up = performance.now();
    const before = texts().length;
    await until(() => texts().length > before, 60_000);
    report(`consumed again ${Math.round(performance.now() - up).toString()} ms after the broker was up`);
    const reached = next;
    await late.declare([lateGroup]);
    await until(() => next > reached + 500 && lateGot.got.length > 0, 60_000);
    stopping = true;
    await Promise.all(publishing);
    expect(await arrived(next, texts, 60_000)).toEqual([]);
    const twice = texts().filter((text) => text !== "hello").length - next;
    report(`${String(next)} messages, ${String(refused)} publishes refused, ${String(twice)} messages came twice`);
    expect(refused).toBeGreaterThan(0);
    const said = () => bus.lines.map(({ msg }) => msg);
    // Its consumer may still pause while the other process has all there is.
    await until(() => said().includes("the bus answers again"), 60_000).catch(() => undefined);
    expect(said()).toEqual(["the bus does not answer", "the bus answers again"]);
    expect(JSON.stringify([bus.lines, late.lines])).not.toContain(new URL(url).password || "no password");
  });

  test("what was published is there after a crash", async ({ skip }) => {
    const { url, settle, crash, start } = broker();
    if (!crash || !start) return skip("the broker is not ours to stop");
    const group = ownGroup();
    {
      await using early = await open({ url });
      await early.declare([group]);
      await settle?.();
    }
    await using bus = await open({ url });
    const certain: string[] = [];
    let running = true;
    // Many at once: some are on their way when it crashes.
    const publishing = Array.from({ length: 20 }, async (_, lane) => {
      for (let n = 0; running; n += 1) {
        const text = `${String(lane)}-${String(n)}`;
        if (!(await taken(bus, [messageOf(group.topic, text)]))) return;
        certain.push(text);
      }
    });
    await until(() => certain.length > 1_000, 30_000);
    await crash();
    running = false;
    await start();
    await Promise.all(publishing);
    const got = new Set<string>();
    bus.consume(group, {
      batch: 200,
      handle: (bodies) => {
        for (const body of bodies) got.add(textOf(body));
        return Promise.resolve();
      },
    });
    await until(() => certain.every((text) => got.has(text)), 30_000).catch(() => undefined);
    expect(certain.filter((text) => !got.has(text))).toEqual([]);
    report(`${String(certain.length)} messages were certain, all were there after the crash`);
  });
}
