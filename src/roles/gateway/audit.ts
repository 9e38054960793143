import { setTimeout as delay } from "node:timers/promises";
import { fromDatabaseError } from "../../platform/database-errors.ts";
import { errors } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { within } from "../../platform/within.ts";
import type { AuditRecord, ChainHead, ChainedRecord } from "./audit-chain.ts";
import { chained } from "./audit-chain.ts";

export interface AuditOptions {
  /** Without entries yet; this process alone writes it. */
  readonly chain: ChainHead;
  /** Stores entries, all or none; may be called again with the same ones. */
  readonly write: (entries: readonly ChainedRecord[]) => Promise<void>;
  readonly log: Logger;
  /** Entries that may wait. */
  readonly capacity?: number;
}

const CAPACITY = 10_000;
/** Milliseconds that an entry waits for others to be stored with. */
const EVERY_MS = 200;
/** Entries that are stored at once. */
const BATCH = 500;
/** Milliseconds between two attempts to store a batch. */
const RETRY_MS = 250;
/** Milliseconds that a call waits for its entry to be stored. */
const DURABLE_MS = 2_000;
/** Milliseconds that the last entries have when the process stops: less than boot gives the role. */
const CLOSE_MS = 2_000;

/** The audit log of this process: a bounded buffer, written in batches off the way of the calls. */
export interface Audit {
  /**
   * Keeps room for entries, so that what is begun can be recorded.
   * @throws AppError OVERLOADED where there is none: a call that cannot be recorded is not carried out
   */
  reserve(entries: number): void;
  /** Takes room whether there is any: for what has happened and must be recorded. */
  take(entries: number): void;
  /** Gives back room that is not needed. */
  release(entries: number): void;
  /** Records, in room that was reserved; stored soon. */
  add(record: AuditRecord): void;
  /** Records, in room that was reserved; resolves when it is stored. @throws AppError PEER_DOWN where it is not soon */
  addDurably(record: AuditRecord): Promise<void>;
  /** Stores what is left. What cannot be stored is in the log then. */
  close(): Promise<void>;
}

interface Waiting {
  readonly record: AuditRecord;
  readonly stored?: () => void;
}

export function createAudit({ chain, write, log, capacity = CAPACITY }: AuditOptions): Audit {
  const closing = new AbortController();
  /** Of the entries that have their place, and of those that are stored. */
  let head: Pick<ChainHead, "position" | "hash"> = chain;
  let storedHead = head;
  let queue: Waiting[] = [];
  let used = 0;
  /** What is being stored. */
  let current: readonly ChainedRecord[] = [];
  let failing = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> | undefined;

  function put(waiting: Waiting): void {
    if (closed) return lose(waiting.record);
    queue.push(waiting);
    plan(waiting.stored !== undefined);
  }

  function plan(isAwaited: boolean): void {
    const isOver = failing && closing.signal.aborted;
    if (writing || queue.length === 0 || isOver) return;
    if (isAwaited || queue.length >= BATCH || closing.signal.aborted) begin();
    else timer ??= setTimeout(begin, EVERY_MS).unref();
  }

  function begin(): void {
    clearTimeout(timer);
    timer = undefined;
    writing = writeBatch(queue.splice(0, BATCH)).finally(() => {
      writing = undefined;
      plan(queue.some(({ stored }) => stored));
    });
  }

  async function writeBatch(batch: readonly Waiting[]): Promise<void> {
    current = batch.map(({ record }) => {
      const entry = chained(head, record);
      head = entry;
      return entry;
    });
    for (;;) {
      const isLast = closing.signal.aborted;
      if (await store(current)) break;
      if (isLast) return;
      await delay(RETRY_MS, undefined, { signal: closing.signal, ref: false }).catch(() => undefined);
    }
    storedHead = current.at(-1) ?? storedHead;
    current = [];
    used -= batch.length;
    for (const { stored } of batch) stored?.();
  }

  async function store(entries: readonly ChainedRecord[]): Promise<boolean> {
    try {
      await write(entries);
      if (failing) log.info("the audit log is stored again");
      failing = false;
      return true;
    } catch (error) {
      const level = fromDatabaseError(error) ? "warn" : "error";
      if (!failing) log[level]({ err: error }, "the audit log cannot be stored; entries wait");
      failing = true;
      return false;
    }
  }

  /** What no database took is in the log at least. */
  function lose(record: AuditRecord): void {
    log.error({ audit: loggable(record) }, "an audit entry was not stored");
  }

  async function drain(): Promise<void> {
    while (writing || queue.length > 0) {
      plan(true);
      await writing;
      if (failing) break;
    }
  }

  return {
    reserve(entries) {
      if (used + entries > capacity) {
        throw errors.OVERLOADED({ message: "The audit log is full; try again.", retryAfterMs: 1_000 });
      }
      used += entries;
    },
    take(entries) {
      used += entries;
    },
    release(entries) {
      used -= entries;
    },
    add(record) {
      put({ record });
    },
    async addDurably(record) {
      const away = () => errors.PEER_DOWN({ retryAfterMs: 1_000, metadata: { peer: "database" } });
      const { promise, resolve } = Promise.withResolvers<void>();
      put({ record, stored: resolve });
      // Known to fail: its callers need not all wait.
      if (failing) throw away();
      await within(DURABLE_MS, promise, away);
    },
    async close() {
      closing.abort();
      clearTimeout(timer);
      const late = () => new Error(`not stored within ${String(CLOSE_MS)} ms`);
      await within(CLOSE_MS, drain(), late).catch((error: unknown) => {
        log.error({ err: error }, "the audit log was not stored to its end");
      });
      closed = true;
      for (const record of [...current, ...queue.map((waiting) => waiting.record)]) lose(record);
      queue = [];
      if (storedHead.position > 0n) {
        const { position, hash } = storedHead;
        log.info({ chain: chain.id, entries: Number(position), hash: hash.toString("hex") }, "the audit chain ends");
      }
    },
  };
}

/** JSON has no bigint, and of an address the log has no need. */
function loggable(record: AuditRecord): object {
  const { occurred_at, subject, method, request_id, phase, code, reason, resource_ids } = record;
  const counts = record.received !== null && { received: Number(record.received), sent: Number(record.sent) };
  return { occurred_at, subject, method, request_id, phase, code, reason, resource_ids, ...counts };
}
