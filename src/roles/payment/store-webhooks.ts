import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import { pruneInBatches } from "../../platform/keep-pruning.ts";
import type { PaymentTables } from "./schema.ts";

/** Days that webhooks are remembered; providers give up much earlier. */
const KEPT_DAYS = 30;

export interface NewWebhook {
  readonly provider: string;
  readonly id: string;
  readonly type: string;
  readonly paymentId: string | undefined;
  readonly now: Date;
}

/** Notes a webhook; false where it came before. */
export async function insertWebhook(trx: Transaction<PaymentTables>, webhook: NewWebhook): Promise<boolean> {
  const inserted = await trx
    .insertInto("webhook_events")
    .values({
      provider: webhook.provider,
      id: webhook.id,
      type: webhook.type,
      payment_id: webhook.paymentId ?? null,
      received_at: webhook.now,
    })
    .onConflict((conflict) => conflict.constraint("webhook_events_pkey").doNothing())
    .returning("id")
    .executeTakeFirst();
  return inserted !== undefined;
}

/** Forgets webhooks that are older than thirty days. */
export function pruneWebhooks(db: Kysely<PaymentTables>): Promise<void> {
  return pruneInBatches((most) =>
    sql`
      delete from webhook_events where ctid = any (array(
        select ctid from webhook_events where received_at < now() - make_interval(days => ${KEPT_DAYS}) limit ${most}
      ))
    `.execute(db),
  );
}
