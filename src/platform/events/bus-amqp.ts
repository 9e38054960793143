import { Connection } from "rabbitmq-client";
import type { Channel, Publisher } from "rabbitmq-client";
import { consumeQueue } from "./bus-amqp-consumer.ts";
import { createOutage } from "./bus-outage.ts";
import type { Bus, BusMessage, BusOptions, Group, Subscription } from "./bus.ts";
import { BROADCAST_BYTES } from "./bus-limits.ts";

/** Durable; the routing key is the topic. */
const EVENTS = "commerce.events";
/** To every queue that is bound; the routing key is the channel. */
const BROADCASTS = "commerce.broadcasts";

/** Milliseconds to wait for a connection, and for the confirms of what was published. */
const ACQUIRE_MS = 5_000;
const CONFIRM_MS = 20_000;
/** Milliseconds to wait for an orderly end of a connection. */
const CLOSE_MS = 5_000;

/** Milliseconds after which a broadcast that nobody took is of no use any more. */
const BROADCAST_TTL_MS = "10000";

/**
 * RabbitMQ 4 drops a message of a quorum queue that came back 20 times, and knows −1 for "never"; RabbitMQ 3 refuses a
 * negative one. This many both take for a limit, and nobody reaches it.
 */
const DELIVERY_LIMIT = 2_147_483_647;
const QUEUE_ARGUMENTS = { "x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT } as const;

/** The bus on RabbitMQ: a quorum queue for each group, bound to its topics. */
export function openAmqpBus({ url, name, log }: BusOptions): Bus {
  const outage = createOutage({
    log,
    begins: "the bus does not answer",
    ends: "the bus answers again",
    redact: withoutSecrets(url),
  });
  const rejections = createOutage({
    log,
    begins: "events could not be taken over; they come again",
    ends: "events are taken over again",
  });
  const listeners = new Map<string, Set<(body: Uint8Array) => void>>();
  const subscriptions = new Set<Subscription>();
  let closed: Promise<void> | undefined;
  let events: Publisher | undefined;
  let broadcasts: Publisher | undefined;
  let hearing: Subscription | undefined;

  // A broker that runs out of memory stops reading from whoever publishes: acknowledgements go another way.
  const publishing = lazy(() => connect("publish"));
  const consuming = lazy(() => connect("consume"));

  function connect(purpose: string): Connection {
    const connection = new Connection({
      url,
      connectionName: `commerce-${name}-bus-${purpose}`,
      acquireTimeout: ACQUIRE_MS,
      connectionTimeout: ACQUIRE_MS,
      heartbeat: 10,
      frameMax: 131_072,
      retryLow: 200,
      retryHigh: 2_000,
    });
    connection.on("error", (error) => {
      // What concerns one channel only comes here too; its user is told.
      if (connection.ready) log.debug({ err: error as unknown }, "a channel of the bus was closed");
      else if (closed === undefined) outage.failed(purpose, error);
    });
    connection.on("connection", () => {
      outage.works(purpose);
    });
    connection.on("connection.blocked", (reason) => {
      outage.failed(purpose, new Error(`the broker takes no messages: ${reason}`));
    });
    connection.on("connection.unblocked", () => {
      outage.works(purpose);
    });
    return connection;
  }

  async function within<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    const channel = await consuming.get().acquire({ emitErrorsFromChannel: true });
    let failure: unknown;
    channel.on("error", (error) => (failure ??= error));
    try {
      return await work(channel);
    } catch (error) {
      throw failure ?? error;
    } finally {
      await channel.close();
    }
  }

  async function publish(messages: readonly BusMessage[]): Promise<void> {
    events ??= publishing.get().createPublisher({ confirm: true, exchanges: [EVENTS_EXCHANGE] });
    const publisher = events;
    const confirmed = Promise.all(
      messages.map(({ id, topic, key, body }) =>
        publisher.send(
          {
            exchange: EVENTS,
            routingKey: topic,
            durable: true,
            messageId: id,
            contentType: "application/x-protobuf",
            headers: { key },
          },
          Buffer.from(body),
        ),
      ),
    );
    await inTime(confirmed, CONFIRM_MS, "the broker did not confirm in time");
  }

  /** One queue of this process for all its broadcasts, made again with each connection. */
  function hear(): Subscription {
    return consumeQueue({
      group: { name: "broadcasts", topics: [] },
      batch: 100,
      connection: () => consuming.get(),
      outage,
      rejections,
      declare: async (channel) => {
        await channel.exchangeDeclare(BROADCASTS_EXCHANGE);
        const { queue } = await channel.queueDeclare({
          exclusive: true,
          autoDelete: true,
          arguments: { "x-queue-type": "classic", "x-max-length": 10_000 },
        });
        await channel.queueBind({ exchange: BROADCASTS, queue });
        return queue;
      },
      handle: (bodies) => {
        for (const body of bodies) tell(body);
        return Promise.resolve();
      },
    });
  }

  /** A broadcast is its channel, a NUL and its body. */
  function tell(message: Uint8Array): void {
    const end = message.indexOf(0);
    const channel = Buffer.from(message.subarray(0, end)).toString();
    for (const heard of listeners.get(channel) ?? []) {
      try {
        heard(message.subarray(end + 1));
      } catch (error) {
        log.error({ err: error, channel }, "a listener of a broadcast threw");
      }
    }
  }

  function subscription(close: () => Promise<void>): Subscription {
    const made = {
      async close() {
        subscriptions.delete(made);
        await close();
      },
    };
    subscriptions.add(made);
    return made;
  }

  return {
    declare: (groups) =>
      within(async (channel) => {
        for (const group of groups) await declareGroup(channel, group);
      }),
    publish,
    consume(group, { batch, handle }) {
      const consumer = consumeQueue({
        group,
        batch,
        handle,
        outage,
        rejections,
        connection: () => consuming.get(),
        declare: (channel) => declareGroup(channel, { ...group, topics: [] }),
      });
      return subscription(() => consumer.close());
    },
    async broadcast(channel, body) {
      try {
        if (body.length > BROADCAST_BYTES)
          throw new RangeError(`A broadcast of ${String(body.length)} bytes is too long.`);
        broadcasts ??= publishing.get().createPublisher({ exchanges: [BROADCASTS_EXCHANGE] });
        const message = Buffer.concat([Buffer.from(`${channel}\0`), body]);
        await broadcasts.send({ exchange: BROADCASTS, expiration: BROADCAST_TTL_MS }, message);
      } catch (error) {
        log.debug({ err: error, channel }, "a broadcast was lost");
      }
    },
    listen(channel, heard) {
      const set = listeners.get(channel) ?? new Set();
      listeners.set(channel, set.add(heard));
      if (hearing === undefined) {
        const started = hear();
        hearing = subscription(() => started.close());
      }
      return subscription(() => {
        set.delete(heard);
        return Promise.resolve();
      });
    },
    close: () =>
      (closed ??= (async () => {
        // One that is down would be waited for.
        for (const connection of [consuming.made(), publishing.made()]) {
          if (connection?.ready === false) connection.unsafeDestroy();
        }
        await Promise.all([...subscriptions].map((open) => open.close()));
        const published = [events, broadcasts].flatMap((publisher) => publisher?.close() ?? []);
        await inTime(Promise.allSettled(published), CLOSE_MS, "").catch(() => undefined);
        await Promise.all([disconnect(consuming.made()), disconnect(publishing.made())]);
      })()),
  };
}

const EVENTS_EXCHANGE = { exchange: EVENTS, type: "topic", durable: true };
const BROADCASTS_EXCHANGE = { exchange: BROADCASTS, type: "fanout", durable: true };

/**
 * Makes the queue of a group and subscribes it to its topics. Answers its name.
 * @throws where there is one of that name with other arguments
 */
async function declareGroup(channel: Channel, group: Group): Promise<string> {
  const queue = `${EVENTS}.${group.name}`;
  await channel.exchangeDeclare(EVENTS_EXCHANGE);
  await channel.queueDeclare({ queue, durable: true, arguments: QUEUE_ARGUMENTS });
  for (const topic of group.topics) await channel.queueBind({ exchange: EVENTS, queue, routingKey: topic });
  return queue;
}

async function disconnect(connection: Connection | undefined): Promise<void> {
  if (connection?.ready === true) await inTime(connection.close(), CLOSE_MS, "").catch(() => undefined);
  connection?.unsafeDestroy();
}

/** @throws Error with that message after so many milliseconds */
async function inTime<T>(work: Promise<T>, ms: number, message: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(message));
  }, ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function lazy<T>(make: () => T): { get(): T; made(): T | undefined } {
  let made: T | undefined;
  return { get: () => (made ??= make()), made: () => made };
}

/** Takes what the address says of the account out of a text. */
function withoutSecrets(url: string): (text: string) => string {
  const { password } = new URL(url);
  const secrets = [password, decodeURIComponent(password)].filter((secret) => secret !== "");
  return (text) => secrets.reduce((told, secret) => told.replaceAll(secret, "***"), text);
}
