import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { Operation, OperationKind } from "./payment.ts";
import type { PaymentTables } from "./schema.ts";
import { afterMs } from "./store.ts";

type Db = Kysely<PaymentTables>;
type Trx = Transaction<PaymentTables>;

/** An operation that this process may send to the provider, until its lease ends. */
export interface LeasedOperation {
  readonly id: string;
  readonly paymentId: string;
  readonly kind: OperationKind;
  readonly amountMinor: bigint;
  /** Looks and sends so far, this one counted. */
  readonly tries: number;
}

export interface NewOperation {
  readonly id: string;
  readonly paymentId: string;
  readonly kind: Exclude<OperationKind, "AUTHORIZE">;
  readonly amountMinor: bigint;
  readonly reason?: string;
  /** Milliseconds for which this process alone sends it; left out: whoever looks first. */
  readonly leaseMs?: number | undefined;
  readonly now: Date;
}

/**
 * Writes down what the provider is to be asked, before it is asked. False: there is an operation with this id, of
 * another payment.
 */
export async function insertOperation(trx: Trx, operation: NewOperation): Promise<boolean> {
  const { leaseMs, now } = operation;
  const inserted = await trx
    .insertInto("payment_operations")
    .values({
      id: operation.id,
      payment_id: operation.paymentId,
      kind: operation.kind,
      amount_minor: operation.amountMinor,
      reason: operation.reason ?? "",
      due_at: afterMs(leaseMs ?? 0),
      created_at: now,
      ...(leaseMs !== undefined && {
        sends: 1,
        tries: 1,
        first_sent_at: sql<Date>`clock_timestamp()`,
        sending_until: afterMs(leaseMs),
      }),
    })
    .onConflict((conflict) => conflict.constraint("payment_operations_pkey").doNothing())
    .returning("id")
    .executeTakeFirst();
  return inserted !== undefined;
}

/** Ends operations of a locked payment. */
export async function settleOperations(trx: Trx, settled: readonly Operation[]): Promise<void> {
  for (const { id, state, failureCode } of settled) {
    await trx
      .updateTable("payment_operations")
      .set({ state, failure_code: failureCode, sending_until: null, settled_at: sql<Date>`clock_timestamp()` })
      .where("id", "=", id)
      .where("state", "=", "PENDING")
      .executeTakeFirstOrThrow();
  }
}

/** An operation that is due, with what is needed to look it up. */
export interface DueOperation extends LeasedOperation {
  readonly sends: number;
  /** The provider's id of the payment; empty where it told none. */
  readonly reference: string;
  /** Its key is forgotten by now, or soon: it is not sent any more, whatever is found. */
  readonly isDead: boolean;
}

/**
 * Takes operations that are due, the longest due first, so that nobody else looks at them for a while. Whether they are
 * sent by somebody at this moment does not matter: a look changes nothing at the provider. `now()`, unlike
 * `clock_timestamp()`, can be looked up in the index; due_at is rounded to milliseconds.
 */
export async function claimOperations(
  db: Db,
  { provider, most, leaseMs, keyLifetimeMs }: ClaimWish,
): Promise<DueOperation[]> {
  const { rows } = await sql<DueOperation>`
    update payment_operations as claimed set tries = tries + 1, due_at = ${afterMs(leaseMs)}
    from payments
    where payments.id = claimed.payment_id and claimed.id = any (array(
      select operation.id from payment_operations as operation
      join payments on payments.id = operation.payment_id and payments.provider = ${provider}
      where operation.state = 'PENDING' and operation.due_at <= now() + interval '1 ms'
      order by operation.due_at limit ${most} for update of operation skip locked
    ))
    returning claimed.id, payment_id as "paymentId", kind, claimed.amount_minor as "amountMinor", tries, sends,
      provider_reference as reference,
      coalesce(first_sent_at <= ${afterMs(-keyLifetimeMs - leaseMs)}, false) as "isDead"
  `.execute(db);
  return rows;
}

export interface ClaimWish {
  /** The name of the provider whose operations these are. */
  readonly provider: string;
  readonly most: number;
  readonly leaseMs: number;
  /** Of the provider. */
  readonly keyLifetimeMs: number;
}

/**
 * Lets this process send an operation, once more or for the first time. False, and it must not be sent: it is settled,
 * somebody else sends it, its key is too old to be known for sure, or it is an authorization that is voided by now.
 */
export async function beginSend(
  db: Db,
  id: string,
  { leaseMs, keyLifetimeMs }: Pick<ClaimWish, "leaseMs" | "keyLifetimeMs">,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update payment_operations as operation
    set sends = sends + 1, first_sent_at = coalesce(first_sent_at, clock_timestamp()),
      sending_until = ${afterMs(leaseMs)}, due_at = ${afterMs(leaseMs)}
    from payments
    where operation.id = ${id} and payments.id = operation.payment_id and operation.state = 'PENDING'
      and (sending_until is null or sending_until <= clock_timestamp())
      and (first_sent_at is null or first_sent_at > ${afterMs(leaseMs - keyLifetimeMs)})
      and (operation.kind <> 'AUTHORIZE' or payments.state <> 'VOIDED')
  `.execute(db);
  return (numAffectedRows ?? 0n) > 0n;
}

/**
 * Ends an attempt that settled nothing: the operation is looked at again after so many milliseconds, or at once where that was
 * asked for meanwhile.
 */
export async function postponeOperation(db: Db, id: string, waitMs: number, wasSent: boolean): Promise<void> {
  const later = sql<Date>`case when due_at <= clock_timestamp() then due_at else ${afterMs(waitMs)} end`;
  await db
    .updateTable("payment_operations")
    .set({ due_at: later, ...(wasSent && { sending_until: null }) })
    .where("id", "=", id)
    .where("state", "=", "PENDING")
    .execute();
}

/** Whether somebody sends an operation at this moment. */
export async function isBeingSent(db: Db, id: string): Promise<boolean> {
  const { rows } = await sql`
    select from payment_operations where id = ${id} and state = 'PENDING' and sending_until > clock_timestamp()
  `.execute(db);
  return rows.length > 0;
}

/** Has the open operations of a locked payment looked at now; false where there are none. */
export async function hurryOperations(trx: Trx, paymentId: string): Promise<boolean> {
  const { numUpdatedRows } = await trx
    .updateTable("payment_operations")
    .set({ due_at: sql<Date>`clock_timestamp()` })
    .where("payment_id", "=", paymentId)
    .where("state", "=", "PENDING")
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}
