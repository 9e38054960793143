import type { Kysely } from "kysely";
import { keepPruning } from "../keep-pruning.ts";
import type { Logger } from "../logger.ts";
import type { Bus, Group } from "./bus.ts";
import type { Consumer } from "./declaration.ts";
import { parseEnvelope } from "./envelope.ts";
import type { Attempts } from "./inbox-apply.ts";
import { createApplier } from "./inbox-apply.ts";
import type { Aggregate, Backlog } from "./inbox-store.ts";
import { inboxBacklog, listReady, listRetrying } from "./inbox-store.ts";
import { PRUNE_EVERY_MS, pruneInbox } from "./prune.ts";
import { startWorker } from "./worker.ts";

/** Events that arrive and are applied at once. */
const BATCH = 200;
/** Milliseconds between two looks for events that are to be tried again, and between those for events that are ready. */
const POLL_MS = 1_000;
const READY_EVERY_MS = 10_000;
const BUSY_MS = 20;
/** Aggregates that are looked at in one run. */
const RUN = 50;

/** Consumes what arrives for a role, each event once and in the order of its aggregate. */
export interface Inbox {
  /** Something may be ready: a dead letter was replayed or skipped. */
  wake(): void;
  backlog(): Promise<Backlog>;
  /** Waits for what is being applied. */
  close(): Promise<void>;
}

export interface InboxOptions {
  readonly db: Kysely<unknown>;
  readonly group: Group;
  readonly consumers: readonly Consumer[];
  readonly bus: Bus;
  readonly log: Logger;
  readonly attempts?: Attempts;
}

export function startInbox({ db, group, consumers, bus, log, attempts }: InboxOptions): Inbox {
  const role = log.child({ role: group.name });
  let lookedAt = Number.NEGATIVE_INFINITY;
  let away = false;
  const inbox = createInbox({
    db,
    group: group.name,
    consumers,
    log: role,
    ...(attempts && { attempts }),
    onFailed: () => {
      worker.wake();
    },
  });

  const worker = startWorker(async () => {
    try {
      const readyToo = performance.now() - lookedAt > READY_EVERY_MS;
      if (readyToo) lookedAt = performance.now();
      const { nextMs } = await inbox.retryDue(readyToo);
      away = false;
      return { afterMs: Math.min(nextMs, POLL_MS) };
    } catch (error) {
      if (!away) role.warn({ err: error }, "events that failed are not tried again at the moment");
      away = true;
      lookedAt = Number.NEGATIVE_INFINITY;
      return { afterMs: POLL_MS };
    }
  });
  const stopPruning = keepPruning("old events", PRUNE_EVERY_MS, () => pruneInbox(db), role);
  const subscription = bus.consume(group, { batch: BATCH, handle: (bodies) => inbox.receive(bodies) });

  return {
    wake() {
      lookedAt = Number.NEGATIVE_INFINITY;
      worker.wake();
    },
    backlog: () => inboxBacklog(db),
    async close() {
      void stopPruning();
      await Promise.all([subscription.close(), worker.close()]);
    },
  };
}

export interface CreateInboxOptions extends Pick<InboxOptions, "db" | "consumers" | "log" | "attempts"> {
  /** The name of the consumer's group. */
  readonly group: string;
  /** Told when an event has failed and is to be tried again. */
  readonly onFailed?: () => void;
  /** Milliseconds that a handler may take; 8,000. */
  readonly handlerMs?: number;
}

/** What an inbox does with what arrives, without a bus and without timers. */
export function createInbox(options: CreateInboxOptions) {
  const { db, group, consumers, log, attempts, onFailed, handlerMs } = options;
  const applier = createApplier({ db, group, consumers, log, attempts, onFailed, handlerMs });

  return {
    /**
     * Stores and applies events in one transaction; resolves when that is committed. An event that fails is remembered and
     * holds up its own aggregate only. @throws what the database throws where it cannot be reached or is busy: nothing is
     * lost then, the bus delivers them again.
     */
    async receive(bodies: readonly Uint8Array[]): Promise<void> {
      const arrived = bodies.flatMap((body) => {
        const event = parseEnvelope(body);
        if (!event) log.error({ bytes: body.length }, "a message that is no event was dropped");
        return event ? [event] : [];
      });
      if (arrived.length > 0) await applier.apply(arrived);
    },

    /**
     * Tries events again whose time has come, and on request looks for those that are ready. Answers in how many
     * milliseconds the next is due; Infinity where there is none.
     */
    async retryDue(readyToo = true): Promise<{ readonly nextMs: number }> {
      const ready = readyToo ? await listReady(db, applier.known, RUN) : [];
      const retrying = await listRetrying(db, applier.known, RUN);
      const due: readonly Aggregate[] = [...ready, ...retrying.filter(({ inMs }) => inMs <= 0)];
      for (const aggregate of due) await applier.retry(aggregate);
      if (due.length >= RUN) return { nextMs: 0 };
      // Another process may be at work on what is due.
      return { nextMs: due.length > 0 ? BUSY_MS : Math.max(retrying[0]?.inMs ?? Number.POSITIVE_INFINITY, 1) };
    },

    backlog: () => inboxBacklog(db),
  };
}
