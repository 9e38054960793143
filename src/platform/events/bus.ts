import type { Logger } from "../logger.ts";

/** One event as the bus carries it: a log such as Kafka would take `topic`, `key` and `body` as they are. */
export interface BusMessage {
  /** UUIDv7; a driver may drop what it has already. */
  readonly id: string;
  /** The role that emits it. */
  readonly topic: string;
  /** What order matters for: the aggregate. */
  readonly key: string;
  /** An EventEnvelope in binary form. */
  readonly body: Uint8Array;
}

/** A durable subscription: each message of its topics goes to one process of the group. */
export interface Group {
  readonly name: string;
  readonly topics: readonly string[];
}

/** What runs until it is closed. Closing waits for what is being handled. */
export interface Subscription {
  close(): Promise<void>;
}

/**
 * Carries events between processes, at least once and in no certain order: the inbox does the rest. Connects by itself
 * and again after the connection broke.
 */
export interface Bus {
  /**
   * Makes sure that each group gets all messages of its topics that are published from now on, whether or not one of its
   * processes runs. May be repeated. @throws where the broker does not answer.
   */
  declare(groups: readonly Group[]): Promise<void>;
  /**
   * Resolves when the broker has all of them durably, for every group that is declared, by whomever. @throws where that
   * is not certain: publish all of them again.
   */
  publish(messages: readonly BusMessage[]): Promise<void>;
  /**
   * Hands messages of the group to `handle`, up to `batch` at once, one call after the other. What it resolves for is
   * done; where it rejects, or the process dies, they come again, here or in another process. Makes the group's queue
   * where it is missing, but subscribes it to nothing: that is for who publishes, and knows which event is its first.
   */
  consume(
    group: Group,
    options: { readonly batch: number; readonly handle: (bodies: readonly Uint8Array[]) => Promise<void> },
  ): Subscription;
  /**
   * Tells every process that listens at this moment, at most once; never rejects. One of more than
   * 5,000 bytes (BROADCAST_BYTES) is lost.
   */
  broadcast(channel: string, body: Uint8Array): Promise<void>;
  /** Calls back for each broadcast of a channel, also those of this process. */
  listen(channel: string, listener: (body: Uint8Array) => void): Subscription;
  close(): Promise<void>;
}

export interface BusOptions {
  /** postgres: or amqp: */
  readonly url: string;
  /** Named on connections, for whoever looks at the broker. */
  readonly name: string;
  readonly log: Logger;
}

/** The bus at an address. Connects on first use. @throws Error for a protocol that no driver is there for */
export async function openBus(options: BusOptions): Promise<Bus> {
  // The error of an invalid one would quote it, password and all.
  const protocol = URL.canParse(options.url) ? new URL(options.url).protocol : "an address that is no URL";
  switch (protocol) {
    case "postgres:":
    case "postgresql:":
      return (await import("./bus-postgres.ts")).openPostgresBus(options);
    case "amqp:":
    case "amqps:":
      return (await import("./bus-amqp.ts")).openAmqpBus(options);
    default:
      throw new Error(`There is no bus for ${protocol}; use postgres: or amqp:`);
  }
}
