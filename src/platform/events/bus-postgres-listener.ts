import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import type { Outage } from "./bus-outage.ts";

/** Milliseconds between attempts to listen again after the connection broke. */
const RECONNECT_MS = 500;

/** Milliseconds between looks whether a silent connection still lives, and for the answer. */
const PING_MS = 10_000;

export interface ListenerOptions {
  readonly url: string;
  /** Named on the connection. */
  readonly name: string;
  readonly channels: readonly string[];
  readonly notified: (channel: string, payload: string) => void;
  /** It listens, also again: what was announced before is lost. */
  readonly listening: () => void;
  readonly outage: Outage;
}

/** Listens over one connection that is opened by `start` and again whenever it breaks. */
export function createListener(options: ListenerOptions): { start(): void; close(): Promise<void> } {
  const { url, name, channels, notified, listening, outage } = options;
  const closed = new AbortController();
  let running: Promise<void> | undefined;
  let current: Client | undefined;

  async function run(): Promise<void> {
    while (!closed.signal.aborted) {
      try {
        await connection();
      } catch (error) {
        if (!closed.signal.aborted) outage.failed("listener", error);
      }
      await delay(RECONNECT_MS, undefined, { signal: closed.signal }).catch(() => undefined);
    }
  }

  /** Resolves or rejects when the connection ends. */
  async function connection(): Promise<void> {
    const client = new Client({
      connectionString: url,
      application_name: `commerce-${name}-bus-listen`,
      keepAlive: true,
      connectionTimeoutMillis: 2_000,
      query_timeout: PING_MS,
    });
    const ended = new Promise<void>((resolve, reject) => {
      client.once("end", resolve);
      client.once("error", reject);
    });
    ended.catch(() => undefined);
    // One that follows the first is nobody's: without a listener it would end the process.
    client.on("error", () => undefined);
    client.on("notification", ({ channel, payload }) => {
      notified(channel, payload ?? "");
    });
    current = client;
    try {
      await client.connect();
      for (const channel of channels) await client.query(`listen ${client.escapeIdentifier(channel)}`);
      outage.works("listener");
      listening();
      await Promise.race([ended, pinging(client)]);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  /** Rejects when the server does not answer; a half-open connection would stay silent for hours. */
  async function pinging(client: Client): Promise<void> {
    while (!closed.signal.aborted) {
      await delay(PING_MS, undefined, { signal: closed.signal, ref: false }).catch(() => undefined);
      if (!closed.signal.aborted) await client.query("select 1");
    }
  }

  return {
    start: () => void (running ??= run()),
    async close() {
      closed.abort();
      await current?.end().catch(() => undefined);
      await running;
    },
  };
}
