import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../logger.ts";
import type { RoleDatabase } from "../role-database.ts";
import { within } from "../within.ts";
import type { Bus, Group, Subscription } from "./bus.ts";
import type { Consumer, EventSchema, EventsDeclaration } from "./declaration.ts";
import { topicOf } from "./declaration.ts";
import type { Inbox } from "./inbox.ts";
import { startInbox } from "./inbox.ts";
import type { Outbox } from "./outbox.ts";
import { createOutbox } from "./outbox.ts";
import type { Relay } from "./relay.ts";
import { startRelay } from "./relay.ts";

/** Milliseconds that counting may take. */
const NUMBERS_MS = 1_000;

/** Milliseconds between looks whether the database can be worked on. */
const CHECK_MS = 1_000;

/** Tells every process at once, at most once each: for what is also found out without it. */
export interface Broadcast {
  /** Never rejects, and is not waited for. At most 5,000 bytes. */
  send(channel: string, body: Uint8Array): void;
  listen(channel: string, listener: (body: Uint8Array) => void): Subscription;
}

/** The hints of a bus. */
export function broadcastOver(bus: Bus): Broadcast {
  return {
    send: (channel, body) => void bus.broadcast(channel, body),
    listen: (channel, listener) => bus.listen(channel, listener),
  };
}

type Counted = [Awaited<ReturnType<Relay["lag"]>> | undefined, Awaited<ReturnType<Inbox["backlog"]>> | undefined];

/** The events of one role in this process. */
export interface RoleEvents {
  outbox<S extends EventSchema>(schema: S): Outbox<S>;
  wakeInbox(): void;
  /**
   * Begins to publish what the role emits, and to consume, once the database can be worked on: events would count as
   * failed before its migrations are there. @throws Error where the consumers are not those of the declaration
   */
  start(consumers: readonly Consumer[]): void;
  /**
   * How far it is behind, e.g. `{ "user.unpublished": 3, "user.oldest_unpublished_seconds": 2 }`; 0 is the aim. Without
   * what the database does not tell within a second: never rejects.
   */
  numbers(): Promise<Readonly<Record<string, number>>>;
  /** Waits for what is under way. The outbox can still be written; another process publishes that, or the next one. */
  close(): Promise<void>;
}

export interface RoleEventsOptions {
  readonly role: string;
  readonly declaration: EventsDeclaration;
  readonly database: Pick<RoleDatabase, "db" | "check">;
  /** Of the whole installation. */
  readonly groups: readonly Group[];
  readonly bus: Bus;
  readonly log: Logger;
}

export function createRoleEvents({ role, declaration, database, groups, bus, log }: RoleEventsOptions): RoleEvents {
  const { emits, consumes = [] } = declaration;
  const { db } = database;
  const closing = new AbortController();
  let relay: Relay | undefined;
  let inbox: Inbox | undefined;
  let counting: Promise<Counted> | undefined;

  async function begin(consumers: readonly Consumer[]): Promise<void> {
    while (!closing.signal.aborted && (await database.check()) !== "ok") {
      await delay(CHECK_MS, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    if (closing.signal.aborted) return;
    if (emits) relay = startRelay({ db, role, bus, groups, log });
    const group = groups.find(({ name }) => name === role);
    if (group) inbox = startInbox({ db, group, consumers, bus, log });
  }

  return {
    outbox(schema) {
      if (emits?.schema.typeName !== schema.typeName) throw new Error(`${role} does not declare ${schema.typeName}`);
      return createOutbox({ schema, version: emits.version, wake: () => relay?.wake() });
    },
    wakeInbox: () => inbox?.wake(),
    start(consumers) {
      const missing = consumes.filter((wanted) => !consumers.some(({ consumption }) => consumption === wanted));
      if (missing.length > 0 || consumers.length > consumes.length) {
        throw new Error(`${role} does not consume what it declares: ${missing.map(nameOf).join(", ")}`);
      }
      void begin(consumers);
    },
    async numbers() {
      // Shared by those who ask meanwhile: over many that wait, counts must not pile up.
      counting ??= Promise.all([relay?.lag(), inbox?.backlog()]).finally(() => (counting = undefined));
      const [lag, backlog] = (await inTime(counting)) ?? [];
      return {
        ...(lag && {
          [`${role}.unpublished`]: lag.unpublished,
          [`${role}.oldest_unpublished_seconds`]: Math.round(lag.oldestSeconds),
        }),
        ...(backlog && {
          [`${role}.waiting`]: backlog.waiting,
          [`${role}.retrying`]: backlog.retrying,
          [`${role}.dead_letters`]: backlog.dead,
        }),
      };
    },
    async close() {
      closing.abort();
      // Together: a handler that takes long does not keep the partitions from other processes.
      await Promise.all([inbox?.close(), relay?.close()]);
    },
  };
}

/** Undefined where it is not there in time: that many events may wait that counting them takes long. */
function inTime<T>(number: Promise<T>): Promise<T | undefined> {
  return within(NUMBERS_MS, number, () => new Error("late")).catch(() => undefined);
}

function nameOf({ schema }: NonNullable<EventsDeclaration["consumes"]>[number]): string {
  return schema.typeName;
}

/** The groups of an installation: a role that consumes is one, of the topics whose events it consumes. */
export function groupsOf(registry: Readonly<Record<string, { readonly events?: EventsDeclaration }>>): Group[] {
  return Object.entries(registry).flatMap(([name, { events }]) => {
    const topics = (events?.consumes ?? []).map(({ schema }) => topicOf(schema));
    return topics.length === 0 ? [] : [{ name, topics }];
  });
}
