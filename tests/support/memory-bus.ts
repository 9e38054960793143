import type { Bus, BusMessage, Group } from "../../src/platform/events/bus.ts";
import type { Random } from "./events-random.ts";
import { randomOf, shuffledWithin } from "./events-random.ts";

/** What goes wrong on the way; shares are from 0 to 1. */
export interface Trouble {
  /** Of messages: they come twice. */
  readonly duplicate: number;
  /** Of publishes: they are lost, or arrive, and reject either way. */
  readonly drop: number;
  /** Messages come this many places too early or too late. */
  readonly reorder: number;
  readonly random: Random;
}

/** A bus in this process, whose groups get what is published after they were declared. */
export interface MemoryBus extends Bus {
  /** The messages of each publish that resolved. */
  readonly published: readonly (readonly BusMessage[])[];
  /** All that was declared so far, by name. */
  readonly groups: ReadonlyMap<string, Group>;
  /** Rejects what is declared and published. */
  down: boolean;
}

const calm: Trouble = { duplicate: 0, drop: 0, reorder: 0, random: randomOf(1) };

export function createMemoryBus({ duplicate, drop, reorder, random }: Trouble = calm): MemoryBus {
  const published: BusMessage[][] = [];
  const groups = new Map<string, Group>();
  const queues = new Map<string, Uint8Array[]>();
  const pumps = new Set<() => void>();
  const listeners = new Map<string, Set<(body: Uint8Array) => void>>();

  function deliver(messages: readonly BusMessage[]): void {
    for (const { name, topics } of groups.values()) {
      const own = messages.filter(({ topic }) => topics.includes(topic));
      const often = own.flatMap(({ body }) => (random() < duplicate ? [body, body] : [body]));
      queues.set(name, shuffledWithin([...(queues.get(name) ?? []), ...often], reorder, random));
    }
    for (const pump of pumps) pump();
  }

  const bus: MemoryBus = {
    published,
    groups,
    down: false,
    declare(wanted) {
      if (bus.down) return Promise.reject(new Error("the bus is down"));
      for (const group of wanted) groups.set(group.name, group);
      return Promise.resolve();
    },
    async publish(messages) {
      await new Promise(setImmediate);
      if (bus.down) throw new Error("the bus is down");
      const lost = random() < drop;
      if (!lost || random() < 0.5) deliver(messages);
      if (lost) throw new Error("the bus did not confirm");
      published.push([...messages]);
    },
    consume({ name }, { batch, handle }) {
      let closed = false;
      let running: Promise<void> | undefined;
      const run = async () => {
        for (;;) {
          const queue = queues.get(name) ?? [];
          if (closed || queue.length === 0) return;
          const bodies = queue.splice(0, batch);
          try {
            await handle(bodies);
          } catch {
            queues.set(name, [...(queues.get(name) ?? []), ...bodies]);
            await new Promise(setImmediate);
          }
        }
      };
      const pump = () => {
        running ??= run().finally(() => {
          running = undefined;
          if (!closed && (queues.get(name)?.length ?? 0) > 0) pump();
        });
      };
      pumps.add(pump);
      pump();
      return {
        async close() {
          closed = true;
          pumps.delete(pump);
          await running;
        },
      };
    },
    broadcast(channel, body) {
      for (const listener of listeners.get(channel) ?? []) listener(body);
      return Promise.resolve();
    },
    listen(channel, listener) {
      const all = listeners.get(channel) ?? new Set();
      listeners.set(channel, all.add(listener));
      return {
        close: () => {
          all.delete(listener);
          return Promise.resolve();
        },
      };
    },
    close: () => Promise.resolve(),
  };
  return bus;
}
