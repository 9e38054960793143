import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import { cancelledBy } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { PaymentTables } from "./schema.ts";
import type { Payment } from "./payment.ts";
import type { Booking } from "./settlement.ts";

type Db = Kysely<PaymentTables>;

/** An amount on an account. */
export interface Balance {
  readonly account: string;
  readonly currency: string;
  /** Above 0 a debit, below 0 a credit. */
  readonly minor: bigint;
}

export interface BookedTransaction {
  readonly id: string;
  readonly kind: "CAPTURE" | "REFUND";
  readonly orderId: string;
  readonly paymentId: string;
  readonly entries: readonly Balance[];
  readonly occurredAt: Date;
}

/** Writes moved money, in one statement: what is captured the provider owes the shop; a refund is the reverse. */
export async function book(
  trx: Transaction<PaymentTables>,
  { id: paymentId, orderId, currency, provider, updatedAt }: Payment,
  { operationId, kind, minor }: Booking,
): Promise<void> {
  if (minor === 0n) return;
  const debit = kind === "CAPTURE" ? minor : -minor;
  await sql`
    with booked as (
      insert into ledger_transactions (id, kind, payment_id, order_id, operation_id, occurred_at)
      values (${newId()}, ${kind}, ${paymentId}, ${orderId}, ${operationId}, ${updatedAt})
      returning id
    )
    insert into ledger_entries (transaction_id, account, currency, amount_minor)
    select booked.id, entry.account, ${currency}, entry.minor
    from booked, (values (${`provider:${provider}`}, ${debit}::bigint), ('sales', ${-debit}::bigint)) as entry (account, minor)
  `.execute(trx);
}

/** The newest first, after a transaction of the page before. */
export async function listTransactions(
  db: Db,
  orderId: string | undefined,
  afterId: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<BookedTransaction[]> {
  let query = db
    .selectFrom("ledger_transactions")
    .selectAll()
    .select(
      sql<readonly (Omit<Balance, "minor"> & { readonly minor: string })[]>`(
        select json_agg(json_build_object('account', account, 'currency', currency, 'minor', amount_minor::text)
          order by account, currency)
        from ledger_entries where transaction_id = ledger_transactions.id
      )`.as("entries"),
    )
    .orderBy("id", "desc")
    .limit(limit);
  if (orderId !== undefined) query = query.where("order_id", "=", orderId);
  if (afterId !== undefined) query = query.where("id", "<", afterId);
  const rows = await query.execute(cancelledBy(signal));
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    orderId: row.order_id,
    paymentId: row.payment_id,
    entries: row.entries.map((entry) => ({ ...entry, minor: BigInt(entry.minor) })),
    occurredAt: row.occurred_at,
  }));
}

/** The sum of each account and currency; a read of the whole ledger, for a person now and then. */
export async function sumBalances(db: Db, signal: AbortSignal): Promise<Balance[]> {
  return db
    .selectFrom("ledger_entries")
    .select(["account", "currency", sql<bigint>`sum(amount_minor)::bigint`.as("minor")])
    .groupBy(["account", "currency"])
    .orderBy("account")
    .orderBy("currency")
    .execute(cancelledBy(signal));
}
