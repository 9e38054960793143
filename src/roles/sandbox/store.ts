import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import { pruneInBatches } from "../../platform/keep-pruning.ts";
import type { PaymentState } from "./payment.ts";
import type { JournalTable, PaymentsTable, RefundsTable, SandboxTables } from "./schema.ts";

type Db = Kysely<SandboxTables>;
type Trx = Transaction<SandboxTables>;

/** A payment with its refunds. */
export interface SandboxPayment extends Omit<PaymentsTable, "position" | "captured_minor" | "decline_code"> {
  readonly captured_minor: bigint;
  readonly decline_code: string;
  readonly refunds: readonly Refund[];
}

type Refund = Pick<RefundsTable, "key" | "amount_minor" | "state"> & { readonly failure_code: string };

/**
 * The call that first had a key: its own where nobody had it, whose transaction holds the key from here on.
 * @param reference of the payment that it is about.
 */
export async function claimKey(
  trx: Trx,
  key: string,
  hash: Buffer,
  reference: string,
): Promise<{ readonly isFirst: boolean; readonly hash: Buffer; readonly reference: string }> {
  const inserted = await trx
    .insertInto("idempotency_keys")
    .values({
      scope: "client",
      method: "change",
      key,
      request_hash: hash,
      response: Buffer.from(reference),
      created_at: new Date(),
    })
    .onConflict((conflict) => conflict.doNothing())
    .returning("key")
    .executeTakeFirst();
  if (inserted) return { isFirst: true, hash, reference };
  const known = await trx
    .selectFrom("idempotency_keys")
    .select(["request_hash", "response"])
    .where("scope", "=", "client")
    .where("method", "=", "change")
    .where("key", "=", key)
    .executeTakeFirstOrThrow();
  return { isFirst: false, hash: known.request_hash, reference: known.response.toString() };
}

export type NewPayment = Omit<PaymentsTable, "position" | "captured_minor" | "decline_code"> & {
  readonly decline_code: string;
};

export async function insertPayment(trx: Trx, payment: NewPayment): Promise<void> {
  await trx.insertInto("payments").values(payment).execute();
}

/** Locks a payment until the transaction ends. */
export async function lockPayment(trx: Trx, reference: string): Promise<SandboxPayment | undefined> {
  await trx.selectFrom("payments").select("reference").where("reference", "=", reference).forUpdate().execute();
  return findPayment(trx, reference);
}

export async function findPayment(db: Db, reference: string): Promise<SandboxPayment | undefined> {
  const [payment] = await withRefunds(
    db,
    await db.selectFrom("payments").selectAll().where("reference", "=", reference).execute(),
  );
  return payment;
}

/** By the client's own id, oldest first. */
export async function findPayments(db: Db, paymentId: string): Promise<SandboxPayment[]> {
  return withRefunds(
    db,
    await db.selectFrom("payments").selectAll().where("payment_id", "=", paymentId).orderBy("position").execute(),
  );
}

/** A page of payments that were recorded since then, oldest first, after one of them. */
export async function listPayments(
  db: Db,
  since: Date,
  after: string | undefined,
  limit: number,
): Promise<SandboxPayment[]> {
  let query = db.selectFrom("payments").selectAll().where("created_at", ">=", since).orderBy("position").limit(limit);
  if (after !== undefined) {
    query = query.where("position", ">", db.selectFrom("payments").select("position").where("reference", "=", after));
  }
  return withRefunds(db, await query.execute());
}

async function withRefunds(
  db: Db,
  payments: readonly (Omit<SandboxPayment, "refunds"> & { readonly position: bigint })[],
): Promise<SandboxPayment[]> {
  if (payments.length === 0) return [];
  const refunds = await db
    .selectFrom("refunds")
    .select(["key", "reference", "amount_minor", "state", "failure_code"])
    .where(
      "reference",
      "in",
      payments.map(({ reference }) => reference),
    )
    .orderBy("created_at")
    .execute();
  return payments.map(({ position: _position, ...payment }) => ({
    ...payment,
    refunds: refunds.filter(({ reference }) => reference === payment.reference),
  }));
}

export async function updatePayment(
  trx: Trx,
  reference: string,
  change: { readonly state: PaymentState; readonly captured_minor?: bigint; readonly decline_code?: string },
): Promise<void> {
  await trx.updateTable("payments").set(change).where("reference", "=", reference).executeTakeFirstOrThrow();
}

/** @param pendingMs after which it is paid; 0: at once. */
export async function insertRefund(
  trx: Trx,
  refund: Pick<RefundsTable, "key" | "reference" | "amount_minor" | "created_at">,
  pendingMs: number,
): Promise<void> {
  const due_at = pendingMs > 0 ? new Date(refund.created_at.getTime() + pendingMs) : null;
  await trx
    .insertInto("refunds")
    .values({ ...refund, state: due_at ? "pending" : "succeeded", due_at })
    .execute();
}

/** Pays the pending refunds that are due; answers them. */
export async function payDueRefunds(trx: Trx, now: Date): Promise<(Refund & { readonly reference: string })[]> {
  return trx
    .updateTable("refunds")
    .set({ state: "succeeded", due_at: null })
    .where("state", "=", "pending")
    .where("due_at", "<=", now)
    .returning(["key", "reference", "amount_minor", "state", "failure_code"])
    .execute();
}

export async function appendJournal(trx: Trx, entry: Omit<JournalTable, "position">): Promise<void> {
  await trx.insertInto("journal").values(entry).execute();
}

/** An event to be told, so many times, after so many milliseconds. */
export async function insertWebhooks(
  trx: Trx,
  event: { readonly event_id: string; readonly type: string; readonly payment_id: string; readonly occurred_at: Date },
  delayMs: number,
  times: number,
): Promise<void> {
  const due_at = sql<Date>`clock_timestamp() + ${delayMs}::int * interval '1 ms'`;
  const rows = Array.from({ length: times }, () => ({ ...event, due_at, delivered_at: null }));
  if (rows.length > 0) await trx.insertInto("webhooks").values(rows).execute();
}

export interface DueWebhook {
  readonly position: bigint;
  readonly event_id: string;
  readonly type: string;
  readonly payment_id: string;
  readonly occurred_at: Date;
  readonly attempts: number;
}

/**
 * Takes what is due, so that nobody else sends it for a while: longer after each attempt, up to a minute.
 * @param paymentId takes what is to be told of this payment, due or not.
 */
export async function takeDueWebhooks(db: Db, limit: number, paymentId?: string): Promise<DueWebhook[]> {
  const which = paymentId === undefined ? sql`due_at <= now()` : sql`payment_id = ${paymentId}`;
  const { rows } = await sql<DueWebhook>`
    update webhooks set
      attempts = attempts + 1,
      due_at = clock_timestamp() + least(60, 2 * 2 ^ least(attempts, 10)) * interval '1 second'
    where position in (
      select position from webhooks where delivered_at is null and attempts < 1000 and ${which}
      order by due_at limit ${limit} for update skip locked
    )
    returning position, event_id, type, payment_id, occurred_at, attempts
  `.execute(db);
  return rows;
}

export async function markDelivered(db: Db, position: bigint): Promise<void> {
  await db.updateTable("webhooks").set({ delivered_at: new Date() }).where("position", "=", position).execute();
}

/** Days that a webhook is remembered after it was delivered; the journal has what it told of. */
const KEPT_DAYS = 30;

/** Forgets webhooks that were delivered thirty days ago. */
export function pruneWebhooks(db: Db): Promise<void> {
  return pruneInBatches((most) =>
    sql`
      delete from webhooks where position = any (array(
        select position from webhooks where delivered_at < now() - make_interval(days => ${KEPT_DAYS}) limit ${most}
      ))
    `.execute(db),
  );
}
