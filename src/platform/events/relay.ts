import type { Kysely } from "kysely";
import { newId } from "../id.ts";
import { keepPruning } from "../keep-pruning.ts";
import type { Logger } from "../logger.ts";
import { within } from "../within.ts";
import type { Bus, Group } from "./bus.ts";
import type { OutboxEvent } from "./envelope.ts";
import { toBusMessage } from "./envelope.ts";
import { PARTITIONS } from "./outbox.ts";
import { PRUNE_EVERY_MS, pruneOutbox } from "./prune.ts";
import { declareGroups } from "./relay-consumers.ts";
import { balanceLeases, markPublished, outboxLag, releaseLeases, selectUnpublished } from "./relay-store.ts";
import { createRelayHints } from "./relay-hints.ts";
import { startWorker } from "./worker.ts";

/** Events that are published at once. */
const BATCH = 500;
/** Milliseconds between two looks into the outbox where nobody wakes the relay. */
const POLL_MS = 1_000;
/** Milliseconds after which a publish that is not answered counts as failed. */
const PUBLISH_MS = 30_000;
/** Milliseconds that a relay which is stopped holds up its partitions at most. */
const LEASE_MS = 10_000;
/** Milliseconds between two looks whether the groups are subscribed: who deletes a queue deletes that, too. */
const DECLARE_MS = 60_000;
const RELEASE_MS = 1_000;
/** Milliseconds before the first repetition and between later ones while the bus or the database is down. */
const BACKOFF_MS = { least: 100, most: 5_000 };

/** Publishes what a role has written to its outbox. */
export interface Relay {
  /** There is something new. */
  wake(): void;
  /** Events that are not published, and the age in seconds of the oldest. */
  lag(): Promise<{ readonly unpublished: number; readonly oldestSeconds: number }>;
  /** Waits for the publish under way, at most two seconds, and gives the partitions to other replicas. */
  close(): Promise<void>;
}

export interface RelayOptions {
  readonly db: Kysely<unknown>;
  /** The emitter: the topic. */
  readonly role: string;
  readonly bus: Bus;
  /** All of the installation. */
  readonly groups: readonly Group[];
  readonly log: Logger;
  /** Milliseconds of a lease on a partition; 10,000. */
  readonly leaseMs?: number;
  /** Milliseconds between two looks at the subscriptions; 60,000. */
  readonly declareEveryMs?: number;
}

/** A lease with the moment, on this process's own clock, after which it may be another's. */
interface Held {
  readonly leases: Map<number, bigint>;
  readonly until: number;
}

/**
 * Runs until it is closed, whatever fails: an outage has one log line at its begin and one at its end. An event is
 * published at least once, and marked only by who still holds its partition.
 */
export function startRelay(options: RelayOptions): Relay {
  const { db, role, bus, groups, log, leaseMs = LEASE_MS, declareEveryMs = DECLARE_MS } = options;
  const member = newId();
  // To other topics their own relays do, who then know which events are the first.
  const subscribed = groups.filter(({ topics }) => topics.includes(role)).map(({ name }) => ({ name, topics: [role] }));
  const hints = createRelayHints(bus, role, member, () => {
    worker.wake();
  });
  const stopPruning = keepPruning("old events", PRUNE_EVERY_MS, () => pruneOutbox(db), log);
  let held: Held = { leases: new Map(), until: 0 };
  let balanced = Number.NEGATIVE_INFINITY;
  let declared = Number.NEGATIVE_INFINITY;
  let outage: { readonly since: number; waitMs: number } | undefined;
  let closed = false;

  async function balance(): Promise<void> {
    // Before the statement: the database's lease begins later and ends later than what is noted here.
    const asked = performance.now();
    held = { leases: new Map(await balanceLeases(db, member, leaseMs)), until: asked + leaseMs };
    balanced = asked;
  }

  /** Keeps the leases meanwhile: two relays of a slow broker would else take them from each other for ever. */
  async function send(events: readonly OutboxEvent[]): Promise<void> {
    let renewal: Promise<void> | undefined;
    const renewing = setInterval(() => {
      renewal ??= balance()
        .catch(() => undefined)
        .finally(() => (renewal = undefined));
    }, leaseMs / 3);
    const late = () => new Error(`the bus does not answer within ${String(PUBLISH_MS)} ms`);
    try {
      await within(PUBLISH_MS, bus.publish(events.map((event) => toBusMessage(role, event))), late);
    } finally {
      clearInterval(renewing);
      await renewal;
    }
  }

  /** Answers whether there may be more. */
  async function publish(): Promise<boolean> {
    // Before the leases: who cannot reach the bus leaves them to others.
    if (performance.now() - declared > declareEveryMs) {
      await declareGroups(db, bus, subscribed);
      declared = performance.now();
    }
    if (performance.now() - balanced > leaseMs / 3) await balance();
    const { leases } = held;
    const { events, more, free } = await selectUnpublished(db, [...leases.keys()], BATCH, leaseMs);
    if (events.length > 0) {
      // A process that was stopped goes on here, with events that another has long published.
      if (performance.now() >= held.until) {
        balanced = Number.NEGATIVE_INFINITY;
        return true;
      }
      await send(events);
      const marked = await markPublished(
        db,
        leases,
        events.map(({ id }) => id),
      );
      if (marked.size < leases.size) {
        balanced = Number.NEGATIVE_INFINITY;
        return true;
      }
    }
    if (free && !closed) {
      await balance();
      if (held.leases.size > leases.size) return true;
    }
    return more;
  }

  const worker = startWorker(async () => {
    try {
      const more = await publish();
      if (outage) {
        log.info(
          { role, seconds: Math.round((performance.now() - outage.since) / 1_000) },
          "events are published again",
        );
        outage = undefined;
      }
      return { afterMs: more ? 0 : Math.min(POLL_MS, leaseMs / 3) };
    } catch (error) {
      // A broker that was away may have lost its subscriptions.
      declared = Number.NEGATIVE_INFINITY;
      if (!outage && !closed) log.warn({ role, err: error }, "events are not published; they wait in the outbox");
      outage ??= { since: performance.now(), waitMs: BACKOFF_MS.least / 2 };
      outage.waitMs = Math.min(outage.waitMs * 2, BACKOFF_MS.most);
      return { afterMs: outage.waitMs, quiet: true };
    }
  });

  return {
    wake() {
      worker.wake();
      // Others hold the partitions that this one does not.
      if (held.leases.size < PARTITIONS && !outage) hints.send();
    },
    lag: () => outboxLag(db),
    async close() {
      closed = true;
      void stopPruning();
      hints.close();
      await worker.close();
      const late = () => new Error(`the database does not answer within ${String(RELEASE_MS)} ms`);
      await within(RELEASE_MS, releaseLeases(db, member), late).catch((error: unknown) => {
        log.warn({ role, err: error }, "the relay's partitions are free only when their leases expire");
      });
    },
  };
}
