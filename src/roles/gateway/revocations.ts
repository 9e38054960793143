import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../../platform/logger.ts";

/** A message of the feed: sessions that have ended, and where to go on after it. */
export interface RevocationBatch {
  readonly sessionIds: readonly string[];
  readonly position: bigint;
}

export interface RevocationsOptions {
  /** The feed of the user role after a position: at least a sign of life each second. */
  readonly watch: (after: bigint, signal: AbortSignal) => AsyncIterable<RevocationBatch>;
  readonly log: Logger;
  /** Aborts when the process begins to stop: what is known then holds to the end. */
  readonly stopping?: AbortSignal;
}

/** Milliseconds without a sign of life after which the feed counts as broken. */
const SILENCE_MS = 3_000;
/** Milliseconds between two attempts. */
const RETRY_MS = 250;
/** Milliseconds that a session is remembered to have ended: longer than an access token lives. */
const KEPT_MS = 900_000;

/** Which sessions have ended, on this process, as the user role tells it. */
export interface Revocations {
  isRevoked(sessionId: string): boolean;
  /** Calls back once when the session ends; answers how to stop listening. */
  onRevoked(sessionId: string, listener: () => void): () => void;
  /** Takes sessions that somebody says have ended, ahead of the feed. */
  hint(sessionIds: readonly string[]): void;
  /** Whether the feed has told so far all that ended before this process began. Resolves false after the wait. */
  synced(waitMs: number): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * Follows the feed until it is closed. While it is broken what is known so far holds: tokens end by themselves within
 * ten minutes.
 */
export function followRevocations({ watch, log, stopping }: RevocationsOptions): Revocations {
  /** By session, epoch milliseconds of when to forget it. The oldest come first. */
  const ended = new Map<string, number>();
  const listeners = new Map<string, Set<() => void>>();
  const closing = new AbortController();
  const first = Promise.withResolvers<boolean>();
  let position = 0n;
  let brokenSince: number | undefined;
  let isTold = false;

  function end(sessionIds: readonly string[]): void {
    const now = Date.now();
    for (const [sessionId, until] of ended) {
      if (until > now) break;
      ended.delete(sessionId);
    }
    for (const sessionId of sessionIds) {
      ended.delete(sessionId);
      ended.set(sessionId, now + KEPT_MS);
      for (const listener of listeners.get(sessionId) ?? []) listener();
    }
  }

  function take({ sessionIds, position: reached }: RevocationBatch): void {
    end(sessionIds);
    position = reached;
    first.resolve(true);
    if (isTold) log.info("the user role tells again which sessions end");
    brokenSince = undefined;
    isTold = false;
  }

  async function follow(): Promise<void> {
    const silent = new AbortController();
    const timer = setTimeout(() => silent.abort(), SILENCE_MS);
    try {
      for await (const batch of watch(position, AbortSignal.any([silent.signal, closing.signal]))) {
        timer.refresh();
        take(batch);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted && !stopping?.aborted) {
      await follow().catch((error: unknown) => {
        brokenSince ??= Date.now();
        // A restart of the user role is nothing to tell.
        if (isTold || closing.signal.aborted || stopping?.aborted || Date.now() - brokenSince < SILENCE_MS) return;
        isTold = true;
        log.warn({ err: error }, "the user role does not tell which sessions end; tokens hold until they expire");
      });
      await delay(RETRY_MS, undefined, { signal: closing.signal, ref: false }).catch(() => undefined);
    }
  }

  const running = run();
  return {
    isRevoked: (sessionId) => ended.has(sessionId),
    onRevoked(sessionId, listener) {
      // It may have ended since its token was looked at.
      if (ended.has(sessionId)) queueMicrotask(listener);
      const known = listeners.get(sessionId) ?? new Set();
      listeners.set(sessionId, known.add(listener));
      return () => {
        known.delete(listener);
        if (known.size === 0) listeners.delete(sessionId);
      };
    },
    hint: end,
    synced: (waitMs) => Promise.race([first.promise, delay(waitMs, false, { ref: false })]),
    async close() {
      closing.abort();
      await running;
    },
  };
}
