import type { AsyncMessage, Channel, Connection } from "rabbitmq-client";
import type { Group, Subscription } from "./bus.ts";
import type { Outage } from "./bus-outage.ts";
import { pauseAfter } from "./bus-outage.ts";
import { createSignal } from "./bus-signal.ts";

/** How often messages are tried in this process, pauses and all about a minute, until another one may try. */
const ATTEMPTS_HERE = 15;

/** Milliseconds between looks whether the channel is still there; it says so itself. */
const LOOK_MS = 10_000;

export interface ConsumerOptions {
  readonly group: Group;
  readonly batch: number;
  readonly handle: (bodies: readonly Uint8Array[]) => Promise<void>;
  /** Opens it where there is none yet. */
  readonly connection: () => Connection;
  /** Makes sure that the queue is there and bound, and answers its name. */
  readonly declare: (channel: Channel) => Promise<string>;
  /** Of the broker. */
  readonly outage: Outage;
  /** Of `handle`. */
  readonly rejections: Outage;
}

/**
 * Takes up to twice the batch from the broker, hands over what has come, and acknowledges it together. What is
 * rejected is kept and tried again here: a broker counts how often it delivers a message, and may drop it in the end.
 */
export function consumeQueue(options: ConsumerOptions): Subscription {
  const { group, batch, handle, connection, declare, outage, rejections } = options;
  const part = `consumer of ${group.name}`;
  const signal = createSignal();
  let closing = false;
  let failures = 0;

  async function run(): Promise<void> {
    while (!closing) {
      try {
        await session();
      } catch (error) {
        if (closing) break;
        outage.failed(part, error);
        failures += 1;
      }
      if (!closing) await pause();
    }
    outage.works(part);
    rejections.works(part);
  }

  /** One channel: resolves when it is closed, or messages are to go to another process. */
  async function session(): Promise<void> {
    const channel = await connection().acquire({ emitErrorsFromChannel: true });
    const waiting: AsyncMessage[] = [];
    let failure: unknown;
    channel.on("error", (error) => (failure ??= error));
    channel.on("close", () => {
      signal.wake();
    });
    // The queue was deleted: the next session makes it again.
    channel.on("basic.cancel", () => void channel.close());
    try {
      const queue = await declare(channel);
      await channel.basicQos({ prefetchCount: 2 * batch });
      await channel.basicConsume({ queue }, (message) => {
        waiting.push(message);
        signal.wake();
      });
      outage.works(part);
      while (channel.active && !closing) {
        signal.clear();
        const taken = waiting.splice(0, batch);
        const last = taken.at(-1);
        if (last === undefined) await signal.wait(LOOK_MS);
        else if (!(await handled(channel, taken))) break;
        else if (channel.active) channel.basicAck({ deliveryTag: last.deliveryTag, multiple: true });
      }
    } finally {
      // Sends what is acknowledged; the broker takes back the rest.
      await channel.close();
    }
    if (failure !== undefined) throw new Error("the broker closed the channel", { cause: failure });
  }

  /** False where it was in vain: the channel is gone, this is closing, or others shall try. */
  async function handled(channel: Channel, messages: readonly AsyncMessage[]): Promise<boolean> {
    const bodies = messages.map(({ body }) => bytesOf(body));
    while (channel.active && !closing) {
      try {
        await handle(bodies);
        failures = 0;
        rejections.works(part);
        return true;
      } catch (error) {
        rejections.failed(part, error);
        failures += 1;
        if (failures % ATTEMPTS_HERE === 0) return false;
        await pause();
      }
    }
    return false;
  }

  /** A message that comes does not shorten it. */
  async function pause(): Promise<void> {
    const until = performance.now() + pauseAfter(failures);
    for (let left = pauseAfter(failures); !closing && left > 0; left = until - performance.now()) {
      signal.clear();
      await signal.wait(left);
    }
  }

  const running = run();
  return {
    async close() {
      closing = true;
      signal.wake();
      await running;
    },
  };
}

/** Ours are bytes; the client turns those of a stranger into text or an object, by their content type. */
function bytesOf(body: unknown): Uint8Array {
  if (body instanceof Uint8Array) return body;
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body ?? null));
}
