import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import type { Logger } from "./logger.ts";

/** Milliseconds between attempts to listen again after the connection broke. */
const RECONNECT_MS = 1_000;

/** Waits for the changes of one thing. */
export interface Changes {
  /**
   * Resolves at the next notification after this call, after the given milliseconds, or when the signal aborts;
   * whichever is first. Never rejects: look again after it.
   */
  next(timeoutMs: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

/**
 * Notifications of one Postgres channel. They are hints: one that is lost, for example while the connection is broken,
 * costs the watcher its poll interval and nothing else.
 */
export interface Notifications {
  /** Changes announced with this payload. */
  watch(payload: string): Changes;
}

export interface ListenOptions {
  readonly url: string;
  readonly role: string;
  readonly channel: string;
  readonly log: Logger;
}

/** Listens on a channel, over one connection that opens when somebody first watches and is kept. */
export function listen({ url, role, channel, log }: ListenOptions): Notifications & { close(): Promise<void> } {
  const watchers = new Map<string, Set<() => void>>();
  let running: Promise<void> | undefined;
  let current: Client | undefined;
  const closed = new AbortController();

  async function run(): Promise<void> {
    while (!closed.signal.aborted) {
      try {
        await connection();
      } catch (error) {
        log.debug({ role, channel, err: error }, "listening was interrupted");
      }
      await delay(RECONNECT_MS, undefined, { signal: closed.signal, ref: false }).catch(() => undefined);
    }
  }

  /** Resolves when the connection ends. */
  async function connection(): Promise<void> {
    const client = new Client({
      connectionString: url,
      application_name: `commerce-${role}-listen`,
      keepAlive: true,
      connectionTimeoutMillis: 5_000,
    });
    const ended = new Promise<void>((resolve, reject) => {
      client.once("end", resolve);
      client.once("error", reject);
    });
    ended.catch(() => undefined);
    client.on("notification", ({ payload }) => {
      for (const wake of watchers.get(payload ?? "") ?? []) wake();
    });
    current = client;
    await client.connect();
    try {
      await client.query(`listen ${client.escapeIdentifier(channel)}`);
      // What was announced before this is lost: whoever waits looks once.
      for (const wake of [...watchers.values()].flatMap((set) => [...set])) wake();
      await ended;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  function wait(payload: string, timeoutMs: number, signal: AbortSignal, mine: Set<() => void>): Promise<void> {
    return new Promise((resolve) => {
      const wakes = watchers.get(payload) ?? new Set();
      watchers.set(payload, wakes);
      const wake = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", wake);
        mine.delete(wake);
        wakes.delete(wake);
        if (wakes.size === 0 && watchers.get(payload) === wakes) watchers.delete(payload);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      wakes.add(wake);
      mine.add(wake);
      if (signal.aborted) wake();
      else signal.addEventListener("abort", wake, { once: true });
    });
  }

  return {
    watch(payload) {
      running ??= run();
      const mine = new Set<() => void>();
      return {
        next: (timeoutMs, signal) => wait(payload, timeoutMs, signal, mine),
        close() {
          for (const wake of mine) wake();
        },
      };
    },
    async close() {
      closed.abort();
      await current?.end().catch(() => undefined);
      await running;
    },
  };
}
