import { createHmac } from "node:crypto";
import type { Kysely } from "kysely";
import type { Worker } from "../../platform/events/worker.ts";
import { startWorker } from "../../platform/events/worker.ts";
import type { Logger } from "../../platform/logger.ts";
import type { PeerFetch } from "../../platform/peer-fetch.ts";
import type { SandboxTables } from "./schema.ts";
import type { DueWebhook } from "./store.ts";
import { markDelivered, takeDueWebhooks } from "./store.ts";

/** Milliseconds between looks for what is due. */
const POLL_MS = 1_000;
/** Milliseconds that the receiver may take. */
const TIMEOUT_MS = 4_000;
/** Sent at the same time. */
const BATCH = 20;

export interface WebhookContext {
  readonly db: Kysely<SandboxTables>;
  /** Where they are sent. */
  readonly url: () => string;
  readonly fetchPeer: PeerFetch;
  readonly key: Buffer;
  readonly log: Logger;
  /** Done before each look: refunds that have become due are told too. */
  readonly settle: () => Promise<void>;
}

/** Tells events until it is closed, again and again until each is accepted. */
export function startWebhooks(context: WebhookContext): Worker {
  let isDown = false;
  return startWorker(async () => {
    try {
      await context.settle();
      const sent = await sendDue(context);
      isDown = false;
      return { afterMs: sent === BATCH ? 0 : POLL_MS };
    } catch (error) {
      if (!isDown) context.log.warn({ err: error }, "webhooks cannot be read");
      isDown = true;
      return { afterMs: POLL_MS };
    }
  });
}

/** Sends what is due, or what is to be told of one payment; answers how many that were. */
export async function sendDue(context: WebhookContext, paymentId?: string): Promise<number> {
  const due = await takeDueWebhooks(context.db, BATCH, paymentId);
  await Promise.all(due.map((webhook) => send(context, webhook)));
  return due.length;
}

async function send({ db, url, fetchPeer, key, log }: WebhookContext, webhook: DueWebhook): Promise<void> {
  const body = JSON.stringify({
    id: webhook.event_id,
    type: webhook.type,
    payment_id: webhook.payment_id,
    occurred_at: webhook.occurred_at.toISOString(),
  });
  try {
    const answer = await fetchPeer(url(), {
      method: "POST",
      headers: { "content-type": "application/json", "sandbox-signature": signWebhook(key, body, new Date()) },
      body,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`answered ${String(answer.status)}`);
    await markDelivered(db, webhook.position);
  } catch (error) {
    log.debug({ err: error, type: webhook.type, attempts: webhook.attempts }, "a webhook is sent again later");
  }
}

/** The signature of a webhook, with its time. */
export function signWebhook(key: Buffer, body: string, now: Date): string {
  const seconds = String(Math.floor(now.getTime() / 1_000));
  return `t=${seconds},v1=${createHmac("sha256", key).update(`${seconds}.${body}`).digest("hex")}`;
}
