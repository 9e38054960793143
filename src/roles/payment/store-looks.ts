import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { PaymentTables } from "./schema.ts";
import { afterMs } from "./store.ts";

/** A payment that the provider is to be asked for, although nothing is open. */
export interface DueLook {
  readonly paymentId: string;
  /** The provider's id of it; empty where it told none. */
  readonly reference: string;
  /** Until when nobody else looks. */
  readonly lookAt: Date;
}

/** Has a locked payment looked at. */
export async function askForLook(trx: Transaction<PaymentTables>, id: string): Promise<void> {
  await trx.updateTable("payments").set({ look_at: sql<Date>`clock_timestamp()` }).where("id", "=", id).execute();
}

/** Takes payments that are to be looked at, so that no other process does for a while. */
export async function claimLooks(
  db: Kysely<PaymentTables>,
  { provider, most, leaseMs }: { readonly provider: string; readonly most: number; readonly leaseMs: number },
): Promise<DueLook[]> {
  const { rows } = await sql<DueLook>`
    update payments set look_at = ${afterMs(leaseMs)}
    where id = any (array(
      select id from payments where look_at <= now() + interval '1 ms' and provider = ${provider}
      order by look_at limit ${most} for update skip locked
    ))
    returning id as "paymentId", provider_reference as reference, look_at as "lookAt"
  `.execute(db);
  return rows;
}

/** Ends a look; not where the provider told of something since it began. */
export async function endLook(db: Kysely<PaymentTables>, { paymentId, lookAt }: DueLook): Promise<void> {
  await db
    .updateTable("payments")
    .set({ look_at: null })
    .where("id", "=", paymentId)
    .where("look_at", "=", lookAt)
    .execute();
}
