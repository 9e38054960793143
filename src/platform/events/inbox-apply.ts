import { fromBinary } from "@bufbuild/protobuf";
import type { Kysely, Transaction } from "kysely";
import { codeOf, isBusy, isConnectionLost } from "../database-errors.ts";
import { transaction } from "../database.ts";
import type { Logger } from "../logger.ts";
import { withTraceparent } from "../trace.ts";
import { within } from "../within.ts";
import type { Consumer } from "./declaration.ts";
import { eventFields, topicOf, typeOf } from "./declaration.ts";
import type { ArrivedEvent } from "./envelope.ts";
import type { Aggregate, InboxEvent, Known } from "./inbox-store.ts";
import { CHAIN, findStored, keyOf, lockFreeMarks, lockMarks, moveMarks, saveEvents } from "./inbox-store.ts";

/** How often an event is tried, and how long after each failure. */
export interface Attempts {
  readonly most: number;
  /** Milliseconds after the first failure. */
  readonly firstMs: number;
  readonly factor: number;
  /** Milliseconds at most. */
  readonly longestMs: number;
}

/** 0.2 s, 0.5 s, 1.4 s, 3.5 s, 9 s, 24 s, 60 s: a hundred seconds in all. */
const ATTEMPTS: Attempts = { most: 8, firstMs: 200, factor: 2.6, longestMs: 60_000 };
/** Whole batches that are tried, each without the aggregates that failed before, until they are taken one by one. */
const BATCH_TRIES = 3;
/**
 * Milliseconds that a handler may take: less than the server lets a transaction be idle, whose end would look like a lost
 * connection, and have the whole batch come again for ever.
 */
const HANDLER_MS = 8_000;
/** Characters of an error that are kept. */
const ERROR_LENGTH = 1_000;

/** One aggregate in one transaction. */
interface Task {
  readonly aggregate: Aggregate;
  readonly arrived: readonly ArrivedEvent[];
  /** An event that has failed: it is noted as such, and nothing behind it is applied. */
  readonly failed?: Failure;
  /** How many events to apply at most. */
  readonly most?: number;
}

interface Failure {
  readonly id: string;
  readonly error: unknown;
}

/** What came of a transaction: `more` stored events follow for these aggregates; or it was rolled back. */
type Outcome =
  | { readonly applied: number; readonly more: readonly Aggregate[] }
  | { readonly error: unknown; readonly culprit: InboxEvent | undefined; readonly tried: number };

export interface ApplierOptions {
  readonly db: Kysely<unknown>;
  readonly group: string;
  readonly consumers: readonly Consumer[];
  readonly log: Logger;
  readonly attempts: Attempts | undefined;
  /** Milliseconds that a handler may take; 8,000. */
  readonly handlerMs: number | undefined;
  readonly onFailed: (() => void) | undefined;
}

/** Applies events, each once and in the sequence of its aggregate, in the transaction that remembers it. */
export function createApplier(options: ApplierOptions) {
  const { db, group, consumers, log, attempts = ATTEMPTS, handlerMs = HANDLER_MS, onFailed } = options;
  const byTopic = new Map(consumers.map((consumer) => [topicOf(consumer.consumption.schema), known(consumer)]));
  if (byTopic.size < consumers.length) throw new TypeError(`${group} has two consumers of one topic`);

  /** Whether this build can do something with an event now. */
  function mayApply(event: InboxEvent, again: boolean): boolean {
    const newest = byTopic.get(event.topic)?.version ?? 0;
    if (event.version > newest) return false;
    return event.state === "waiting" || (event.state === "retrying" && again && event.due);
  }

  async function applyOne(trx: Transaction<unknown>, event: InboxEvent): Promise<void> {
    const handled = byTopic.get(event.topic);
    if (!handled?.types.has(event.type)) return;
    const { id, type, aggregateId, sequence, occurredAt } = event;
    const message = fromBinary(handled.schema, event.payload);
    const received = { id, type, aggregateId, sequence, occurredAt };
    const applied = withTraceparent(event.traceparent, () =>
      handled.consumer.apply(trx as unknown as Transaction<never>, received, message),
    );
    await within(handlerMs, applied, () => new Error(`the handler was not done after ${String(handlerMs)} ms`));
  }

  /** @throws what says that the database is away or busy */
  async function attempt(tasks: readonly Task[], again: boolean): Promise<Outcome> {
    let tried: InboxEvent[] = [];
    let current: InboxEvent | undefined;
    let given: InboxEvent[] = [];
    try {
      const more = await transaction(db, async (trx) => {
        tried = [];
        given = [];
        current = undefined;
        const aggregates = tasks.map(({ aggregate }) => aggregate);
        const marks = await (again ? lockFreeMarks : lockMarks)(trx, aggregates);
        const stored = Map.groupBy(await findStored(trx, aggregates), keyOf);
        const changed: InboxEvent[] = [];
        const moved: (Aggregate & { readonly applied: bigint })[] = [];
        const cut: Aggregate[] = [];
        for (const task of tasks) {
          const key = keyOf(task.aggregate);
          const mark = marks.get(key);
          if (mark === undefined) continue;
          const chain = chainOf(task, mark, stored.get(key) ?? [], group);
          let { applied } = chain;
          for (let left = task.most ?? Number.POSITIVE_INFINITY; left > 0; left -= 1) {
            const event = applied < chain.readTo ? chain.events.get(applied + 1n) : undefined;
            if (!event || !mayApply(event, again)) break;
            if (event.id === task.failed?.id) {
              fail(event, task.failed.error);
              given.push(event);
              break;
            }
            current = event;
            tried.push(event);
            await applyOne(trx, event);
            current = undefined;
            event.state = "applied";
            applied += 1n;
          }
          if (applied > mark)
            moved.push({ topic: task.aggregate.topic, aggregateId: task.aggregate.aggregateId, applied });
          changed.push(...[...chain.events.values()].filter(isToSave));
          if (applied > mark && (stored.get(key)?.length ?? 0) >= CHAIN) cut.push(task.aggregate);
        }
        if (changed.length > 0) await saveEvents(trx, changed);
        if (moved.length > 0) await moveMarks(trx, moved);
        return cut;
      });
      for (const event of given) tell(event);
      return { applied: tried.length, more };
    } catch (error) {
      if (isConnectionLost(error) || isBusy(error)) throw error;
      // A transaction that an earlier event has broken says so to all that follow.
      const culprit = codeOf(error) === "25P02" ? undefined : current;
      return { error, culprit: culprit ?? (tried.length === 1 ? tried[0] : undefined), tried: tried.length };
    }
  }

  /** Goes on with one aggregate until nothing more can be applied. */
  async function settle(task: Task, again: boolean): Promise<void> {
    let next: Task = task;
    for (;;) {
      const outcome = await attempt([next], again);
      if ("error" in outcome) {
        const { error, culprit, tried } = outcome;
        if (culprit) next = { ...task, failed: { id: culprit.id, error } };
        // A deferred constraint fails at the commit: one event a transaction tells whose it is.
        else if (next.most === undefined && tried > 0) next = { ...task, most: 1 };
        else throw error;
      } else if (outcome.more.length > 0) {
        next = { aggregate: task.aggregate, arrived: [] };
      } else if (next.most === undefined || outcome.applied === 0) {
        return;
      }
    }
  }

  function fail(event: InboxEvent, error: unknown): void {
    event.attempts += 1;
    event.error = textOf(error);
    event.state = event.attempts >= attempts.most ? "dead" : "retrying";
    if (event.state === "retrying") {
      const ms = Math.min(attempts.firstMs * attempts.factor ** (event.attempts - 1), attempts.longestMs);
      event.retryInMs = Math.round(ms);
    }
  }

  function tell({ id, type, aggregateId, sequence, state, attempts: tries, error }: InboxEvent): void {
    const event = { id, type, aggregateId, sequence: String(sequence), attempts: tries, error };
    if (state === "dead") log.error(event, "an event was given up; those of its aggregate wait behind it");
    else {
      if (tries === 1) log.warn(event, "an event failed; it is tried again");
      onFailed?.();
    }
  }

  return {
    /** What this build can read. */
    known: [...byTopic].map(([topic, { version }]) => ({ topic, version })) satisfies Known,

    async apply(arrived: readonly ArrivedEvent[]): Promise<void> {
      const alone: Task[] = [];
      let batch = tasksOf(arrived);
      for (let tries = 0; batch.length > 0; tries += 1) {
        const outcome = await attempt(batch, false);
        if ("more" in outcome) {
          alone.push(...outcome.more.map((aggregate) => ({ aggregate, arrived: [] })));
          break;
        }
        const { culprit, error } = outcome;
        const failed = culprit && keyOf(culprit);
        const isFailed = ({ aggregate }: Task) => keyOf(aggregate) === failed;
        if (culprit)
          alone.push(...batch.filter(isFailed).map((task) => ({ ...task, failed: { id: culprit.id, error } })));
        batch = batch.filter((task) => !isFailed(task));
        if (culprit && tries < BATCH_TRIES - 1) continue;
        alone.push(...batch);
        batch = [];
      }
      for (const task of alone) await settle(task, false);
    },

    /** Tries an aggregate again, unless another process does so at this moment. */
    retry: (aggregate: Aggregate) => settle({ aggregate, arrived: [] }, true),
  };
}

/** In one order everywhere: handlers of two batches that write the same rows then wait, and do not deadlock. */
function tasksOf(arrived: readonly ArrivedEvent[]): Task[] {
  const groups = [...Map.groupBy(arrived, keyOf)].sort(([a], [b]) => (a < b ? -1 : 1));
  return groups.flatMap(([, events]) => (events[0] ? [{ aggregate: events[0], arrived: events }] : []));
}

interface Chain {
  /** By sequence: what is stored, what arrived, and what will be passed over. */
  readonly events: ReadonlyMap<bigint, InboxEvent>;
  /** The last one that took effect, or that this consumer begins after. */
  readonly applied: bigint;
  /** Nothing is known of those behind this one: more are stored than were read. */
  readonly readTo: bigint | number;
}

/**
 * Joins what arrived with what is stored, less what has taken effect. A consumer that never got the predecessor of an
 * event begins there, or with the events right before it, where those came to it after all.
 */
function chainOf({ arrived }: Task, mark: bigint, stored: readonly InboxEvent[], group: string): Chain {
  const events = new Map(stored.map((event) => [event.sequence, event]));
  const readTo = stored.length < CHAIN ? Number.POSITIVE_INFINITY : (stored.at(-1)?.sequence ?? mark);
  for (const { firstFor: _, ...event } of arrived) {
    if (event.sequence <= mark || events.has(event.sequence)) continue;
    events.set(event.sequence, { ...event, stored: false, state: "waiting", attempts: 0, due: false });
  }
  const starts = arrived.filter(({ firstFor }) => firstFor.includes(group)).map(({ sequence }) => sequence);
  if (mark > 0n || starts.length === 0) return { events, applied: mark, readTo };
  let first = starts.reduce((a, b) => (a < b ? a : b));
  while (events.has(first - 1n)) first -= 1n;
  for (const event of events.values()) if (event.sequence < first) event.state = "skipped";
  return { events, applied: first - 1n, readTo };
}

/** Of stored events those that have changed. */
function isToSave({ stored, state, error }: InboxEvent): boolean {
  return !stored || state === "applied" || state === "skipped" || error !== undefined;
}

function known(consumer: Consumer) {
  const { schema, version, cases } = consumer.consumption;
  const fields = eventFields(schema).filter(({ localName }) => cases.includes(localName));
  return { consumer, schema, version, types: new Set(fields.map((field) => typeOf(schema, field))) };
}

/** Postgres stores no NUL. */
function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replaceAll("\0", "").slice(0, ERROR_LENGTH);
}
