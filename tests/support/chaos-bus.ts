import type { Bus, BusMessage } from "../../src/platform/events/bus.ts";
import { newId } from "../../src/platform/id.ts";
import type { Random } from "./events-random.ts";
import { shuffledWithin, wholeOf } from "./events-random.ts";

/** What a bus does to messages at worst; shares are from 0 to 1. */
export interface Chaos {
  /** Of messages: they are published twice. */
  readonly duplicate: number;
  /** Of publishes: lost, in part or wholly, or only the confirmation is; they reject. */
  readonly drop: number;
  /** Messages come this many places too early or too late. */
  readonly reorder: number;
  /** Of handled batches: the acknowledgement is lost, they come again. */
  readonly unacknowledged: number;
  readonly random: Random;
  /** Called at each step of publishing a batch: a process may be killed there. */
  readonly step?: () => void;
}

/** A bus that keeps what the port promises, and no more than that. */
export function withChaos(bus: Bus, { duplicate, drop, reorder, unacknowledged, random, step }: Chaos): Bus {
  /** With ids of their own in the order that they are to come in: drivers drop or sort by the id. */
  const shuffled = (messages: readonly BusMessage[]) =>
    shuffledWithin(
      messages.flatMap((message) => (random() < duplicate ? [message, message] : [message])),
      reorder,
      random,
    ).map((message) => ({ ...message, id: newId() }));

  return {
    ...bus,
    async publish(messages) {
      const out = shuffled(messages);
      const lost = random() < drop;
      const kept = lost ? out.slice(0, wholeOf(random, out.length + 1)) : out;
      step?.();
      for (let at = 0; at < kept.length; ) {
        const chunk = kept.slice(at, at + 1 + wholeOf(random, reorder + 1));
        await bus.publish(chunk);
        at += chunk.length;
        step?.();
      }
      if (lost) throw new Error("the confirmation was lost");
    },
    consume: (group, { batch, handle }) =>
      bus.consume(group, {
        batch: Math.min(batch, 1 + reorder),
        async handle(bodies) {
          await handle(shuffledWithin(bodies, reorder, random));
          if (random() < unacknowledged) throw new Error("the acknowledgement was lost");
        },
      }),
  };
}
