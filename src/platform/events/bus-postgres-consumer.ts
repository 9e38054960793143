import type { Pool, PoolClient } from "pg";
import type { PgBoss } from "pg-boss";
import { bossDb } from "./bus-boss.ts";
import type { Group, Subscription } from "./bus.ts";
import type { Outage } from "./bus-outage.ts";
import { pauseAfter } from "./bus-outage.ts";
import type { Signal } from "./bus-signal.ts";

/** Milliseconds between looks at a queue that nobody told us about: the guarantee beside the notification. */
const POLL_MS = 1_000;

/** Milliseconds between signs of life while messages are handled; the pool's sessions may be idle for 10 s. */
const BEAT_MS = 3_000;

/** What a job carries. */
export interface Carried {
  /** Base64: jsonb holds no bytes. */
  readonly body: string;
}

export interface ConsumerOptions {
  readonly group: Group;
  readonly batch: number;
  readonly handle: (bodies: readonly Uint8Array[]) => Promise<void>;
  /** pg-boss, with the group's queue there. @throws while the database is not */
  readonly ready: () => Promise<PgBoss>;
  readonly pool: Pool;
  /** Woken when there may be something. */
  readonly signal: Signal;
  /** Of the database. */
  readonly outage: Outage;
  /** Of `handle`. */
  readonly rejections: Outage;
}

/**
 * Fetches, handles and deletes in one transaction of the bus's database. So the row locks say who has a message, and
 * the session keeps them: where a process dies Postgres rolls back at once and the next one fetches them; where a host
 * vanishes, or a process hangs, the session is ended after 10 s without a sign of life. Nothing is counted, so there is
 * no number of attempts after which a message would be lost.
 */
export function consumeQueue(options: ConsumerOptions): Subscription {
  const { group, batch, handle, ready, pool, signal, outage, rejections } = options;
  const part = `consumer of ${group.name}`;
  let closing = false;

  async function run(): Promise<void> {
    let failures = 0;
    while (!closing) {
      signal.clear();
      try {
        const handled = await round(await ready());
        outage.works(part);
        if (handled !== "rejected") failures = 0;
        if (handled === "some") continue;
        if (!closing && handled === "none") await signal.wait(POLL_MS);
        if (handled === "rejected") await pause((failures += 1));
      } catch (error) {
        outage.failed(part, error);
        await pause((failures += 1));
      }
    }
    outage.works(part);
    rejections.works(part);
  }

  /** A wake for a new message does not shorten it. */
  async function pause(failures: number): Promise<void> {
    const until = performance.now() + pauseAfter(failures);
    for (let left = pauseAfter(failures); !closing && left > 0; left = until - performance.now()) {
      signal.clear();
      await signal.wait(left);
    }
  }

  async function round(boss: PgBoss): Promise<"none" | "some" | "rejected"> {
    const client = await pool.connect();
    let settled = false;
    try {
      await client.query("begin");
      const db = bossDb(client);
      const jobs = await boss.fetch<Carried>(group.name, { batchSize: batch, db });
      const done = jobs.length > 0 && (await handles(client, jobs));
      if (done) {
        await boss.deleteJob(
          group.name,
          jobs.map(({ id }) => id),
          { db },
        );
      }
      await client.query(done ? "commit" : "rollback");
      settled = true;
      if (jobs.length === 0) return "none";
      return done ? "some" : "rejected";
    } finally {
      // One that is not settled goes, and with it its transaction.
      client.release(!settled);
    }
  }

  /** False where `handle` rejects. */
  async function handles(client: PoolClient, jobs: readonly { readonly data: Carried }[]): Promise<boolean> {
    const stopBeating = beat(client);
    try {
      await handle(jobs.map(({ data }) => Buffer.from(data.body, "base64")));
      rejections.works(part);
      return true;
    } catch (error) {
      rejections.failed(part, error);
      return false;
    } finally {
      await stopBeating();
    }
  }

  const running = run();
  return {
    async close() {
      closing = true;
      signal.wake();
      await running;
    },
  };
}

/** Keeps the session of a transaction from being ended as idle; what it answers waits for the query under way. */
function beat(client: PoolClient): () => Promise<void> {
  let sending: Promise<unknown> | undefined;
  const timer = setInterval(() => {
    // Where the connection is lost the delete says so.
    sending ??= client
      .query("select 1")
      .catch(() => undefined)
      .finally(() => (sending = undefined));
  }, BEAT_MS);
  return async () => {
    clearInterval(timer);
    await sending;
  };
}
