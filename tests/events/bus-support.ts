import { randomBytes } from "node:crypto";
import { pino } from "pino";
import type { Bus, BusMessage, Group } from "../../src/platform/events/bus.ts";
import { openBus } from "../../src/platform/events/bus.ts";
import { newId } from "../../src/platform/id.ts";
import { until } from "../support/conditions.ts";
import type { LogLine } from "../support/process.ts";

/** A broker of one kind, that the tests of a file share. */
export interface Broker {
  readonly url: string;
  /** Breaks every connection to it. */
  readonly drop: () => void;
  /** Has it write down what it would forget in a crash, though it said that it is there. */
  readonly settle?: () => Promise<void>;
  /** Ends it as a crash does. Absent where it is not ours. */
  readonly crash?: () => Promise<void>;
  /** Resolves when it answers again. */
  readonly start?: () => Promise<void>;
}

/** A group and a topic that no other test has. */
export function ownGroup(name = "group"): Group & { readonly topic: string } {
  const mark = randomBytes(4).toString("hex");
  const topic = `topic-${mark}`;
  return { name: `${name}-${mark}`, topics: [topic], topic };
}

export function messageOf(topic: string, text: string): BusMessage {
  return { id: newId(), topic, key: newId(), body: Buffer.from(text) };
}

export function messagesOf(topic: string, count: number, from = 0): BusMessage[] {
  return Array.from({ length: count }, (_, n) => messageOf(topic, String(from + n)));
}

export interface OpenedBus extends Bus, AsyncDisposable {
  readonly lines: readonly LogLine[];
}

/** A bus that is closed with its scope, and what it logs from info up. */
export async function open(broker: Pick<Broker, "url">): Promise<OpenedBus> {
  const lines: LogLine[] = [];
  const log = pino({ level: "info" }, { write: (line) => lines.push(JSON.parse(line) as LogLine) });
  const bus = await openBus({ url: broker.url, name: "tests", log });
  return { ...bus, lines, [Symbol.asyncDispose]: () => bus.close() };
}

export interface Collected {
  /** The texts, in the order in which they came. */
  readonly got: string[];
  readonly close: () => Promise<void>;
}

/** Consumes a group and keeps what it gets. */
export function collect(bus: Bus, group: Group, batch = 50): Collected {
  const got: string[] = [];
  const consumer = bus.consume(group, {
    batch,
    handle: (bodies) => {
      got.push(...bodies.map(textOf));
      return Promise.resolve();
    },
  });
  return { got, close: () => consumer.close() };
}

export function textOf(body: Uint8Array): string {
  return Buffer.from(body).toString();
}

/** Publishes and says whether that was certain. */
export function taken(bus: Bus, messages: readonly BusMessage[]): Promise<boolean> {
  return bus.publish(messages).then(
    () => true,
    () => false,
  );
}

/** The numbers from 0 up to `count` that are not among the texts. */
export function missingOf(count: number, got: readonly string[]): number[] {
  const there = new Set(got);
  return Array.from({ length: count }, (_, n) => n).filter((n) => !there.has(String(n)));
}

/** Resolves when all numbers from 0 up to `count` are among the texts, or it takes too long: then look which are not. */
export async function arrived(count: number, got: () => readonly string[], withinMs = 10_000): Promise<number[]> {
  await until(() => missingOf(count, got()).length === 0, withinMs).catch(() => undefined);
  return missingOf(count, got());
}

/** Prints what a person wants to know of a run. */
export function report(line: string): void {
  process.stdout.write(`  ${line}\n`);
}
