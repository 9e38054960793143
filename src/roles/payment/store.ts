import type { Kysely, Selectable, Transaction } from "kysely";
import { sql } from "kysely";
import { cancelledBy } from "../../platform/database.ts";
import { notFound } from "../../platform/errors.ts";
import type { Money } from "../../platform/money.ts";
import type { Operation, OperationKind, OperationState, Payment, PaymentState } from "./payment.ts";
import type { PaymentTables, Payments } from "./schema.ts";

type Db = Kysely<PaymentTables>;
type Trx = Transaction<PaymentTables>;

/** Seconds after a change of the state before a payment's order is looked at: until then the order may be at work. */
const CHECK_AFTER_S = 120;
const nextCheck = sql<Date>`clock_timestamp() + make_interval(secs => ${CHECK_AFTER_S})`;

export interface NewPayment {
  readonly id: string;
  readonly orderId: string;
  readonly userId: string;
  readonly amount: Money;
  readonly provider: string;
  readonly methodToken: string;
  /** The key of its authorization. */
  readonly operationId: string;
  readonly leaseMs: number;
  readonly now: Date;
}

/**
 * Records a payment together with its authorization, which this process may send from here on, in one statement. False:
 * the order has a payment.
 */
export async function insertPayment(db: Db, payment: NewPayment): Promise<boolean> {
  const { rows } = await sql`
    with recorded as (
      insert into payments (
        id, order_id, user_id, currency, amount_minor, state, provider, method_token, check_at, created_at, updated_at
      ) values (
        ${payment.id}, ${payment.orderId}, ${payment.userId}, ${payment.amount.currency}, ${payment.amount.minor},
        'PENDING', ${payment.provider}, ${payment.methodToken}, ${nextCheck}, ${payment.now}, ${payment.now}
      )
      on conflict on constraint payments_order_key do nothing
      returning id, amount_minor
    )
    insert into payment_operations (
      id, payment_id, kind, amount_minor, sends, tries, first_sent_at, sending_until, due_at, created_at
    )
    select ${payment.operationId}::uuid, id, 'AUTHORIZE', amount_minor, 1, 1, clock_timestamp(),
      ${afterMs(payment.leaseMs)}, ${afterMs(payment.leaseMs)}, ${payment.now}::timestamptz
    from recorded
    returning id
  `.execute(db);
  return rows.length > 0;
}

/** Notes that nothing is to be taken for an order of which there is no payment yet. False: there is one. */
export async function insertTombstone(
  trx: Trx,
  { id, orderId, provider, now }: Pick<NewPayment, "id" | "orderId" | "provider" | "now">,
): Promise<boolean> {
  const inserted = await trx
    .insertInto("payments")
    .values({
      id,
      order_id: orderId,
      user_id: null,
      currency: "",
      amount_minor: 0n,
      state: "VOIDED",
      provider,
      check_at: nextCheck,
      created_at: now,
      updated_at: now,
    })
    .onConflict((conflict) => conflict.constraint("payments_order_key").doNothing())
    .returning("id")
    .executeTakeFirst();
  return inserted !== undefined;
}

export type PaymentKey = { readonly id: string } | { readonly orderId: string };

export async function findPayment(db: Db, key: PaymentKey): Promise<Payment | undefined> {
  const [column, value] = "id" in key ? (["id", key.id] as const) : (["order_id", key.orderId] as const);
  const row = await selectPayments(db).where(`payments.${column}`, "=", value).executeTakeFirst();
  return row && toPayment(row);
}

/** @throws AppError NOT_FOUND */
export async function getPayment(db: Db, orderId: string): Promise<Payment> {
  const payment = await findPayment(db, { orderId });
  if (!payment) throw notFound("payment", orderId);
  return payment;
}

/** One that is known to be there. */
export async function getPaymentById(db: Db, id: string): Promise<Payment> {
  const payment = await findPayment(db, { id });
  if (!payment) throw new Error(`the payment ${id} is gone`);
  return payment;
}

/** Locks a payment until the transaction ends: whoever changes it or its operations does this first. */
export async function lockPayment(trx: Trx, key: PaymentKey): Promise<Payment | undefined> {
  const [column, value] = "id" in key ? (["id", key.id] as const) : (["order_id", key.orderId] as const);
  await trx.selectFrom("payments").select("id").where(column, "=", value).forUpdate().execute();
  // Read after the lock: what the statement above saw may be older than what it waited for.
  return findPayment(trx, key);
}

/** @throws AppError NOT_FOUND */
export async function getLockedPayment(trx: Trx, orderId: string): Promise<Payment> {
  const payment = await lockPayment(trx, { orderId });
  if (!payment) throw notFound("payment", orderId);
  return payment;
}

/** Writes what has changed of a locked payment. */
export async function updatePayment(trx: Trx, before: Payment, after: Payment): Promise<void> {
  await trx
    .updateTable("payments")
    .set({
      state: after.state,
      authorized_minor: after.authorizedMinor,
      captured_minor: after.capturedMinor,
      refunding_minor: after.refundingMinor,
      refunded_minor: after.refundedMinor,
      provider_reference: after.providerReference,
      decline_code: after.declineCode,
      capture_failure: after.captureFailure,
      redirect_url: after.redirectUrl,
      problem: after.problem,
      version: after.version,
      updated_at: after.updatedAt,
      ...(before.state !== after.state && { check_at: nextCheck }),
    })
    .where("id", "=", before.id)
    .where("version", "=", before.version)
    .executeTakeFirstOrThrow();
}

export interface PaymentFilter {
  /** Undefined: everybody's. */
  readonly userId: string | undefined;
  /** Empty: any. */
  readonly states: readonly PaymentState[];
  readonly onlyProblems: boolean;
}

/** The newest first, after a payment of the page before. */
export async function listPayments(
  db: Db,
  { userId, states, onlyProblems }: PaymentFilter,
  afterId: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<Payment[]> {
  let query = selectPayments(db).orderBy("payments.id", "desc").limit(limit);
  if (userId !== undefined) query = query.where("payments.user_id", "=", userId);
  if (states.length > 0) query = query.where("payments.state", "in", states);
  if (onlyProblems) query = query.where("payments.problem", "<>", sql.lit(""));
  if (afterId !== undefined) query = query.where("payments.id", "<", afterId);
  return (await query.execute(cancelledBy(signal))).map(toPayment);
}

/** Those of the ids of which there is no payment. */
export async function listAbsentPayments(db: Db, ids: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from unnest(${ids}::uuid[]) as given (id)
    where not exists (select from payments where payments.id = given.id)
  `.execute(db);
  return rows.map(({ id }) => id);
}

/** The moment so many milliseconds from now, by the database's clock. */
export function afterMs(ms: number) {
  return sql<Date>`clock_timestamp() + make_interval(secs => ${ms / 1_000})`;
}

/** A payment with its operations in one row: one statement reads a page of them. Amounts and times are text. */
function selectPayments(db: Db) {
  return db
    .selectFrom("payments")
    .selectAll("payments")
    .select(
      sql<OperationJson[] | null>`(
        select json_agg(json_build_object(
          'id', id, 'kind', kind, 'amountMinor', amount_minor::text, 'state', state, 'failureCode', failure_code,
          'reason', reason, 'createdAt', created_at
        ) order by created_at, id) from payment_operations where payment_id = payments.id
      )`.as("operations"),
    );
}

interface OperationJson {
  readonly id: string;
  readonly kind: OperationKind;
  readonly amountMinor: string;
  readonly state: OperationState;
  readonly failureCode: string;
  readonly reason: string;
  readonly createdAt: string;
}

function toPayment(row: Selectable<Payments> & { readonly operations: OperationJson[] | null }): Payment {
  return {
    id: row.id,
    orderId: row.order_id,
    userId: row.user_id ?? undefined,
    currency: row.currency,
    amountMinor: row.amount_minor,
    state: row.state,
    authorizedMinor: row.authorized_minor,
    capturedMinor: row.captured_minor,
    refundingMinor: row.refunding_minor,
    refundedMinor: row.refunded_minor,
    provider: row.provider,
    methodToken: row.method_token,
    providerReference: row.provider_reference,
    declineCode: row.decline_code,
    captureFailure: row.capture_failure,
    redirectUrl: row.redirect_url,
    problem: row.problem,
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    operations: (row.operations ?? []).map(toOperation),
  };
}

function toOperation({ amountMinor, createdAt, ...operation }: OperationJson): Operation {
  return { ...operation, amountMinor: BigInt(amountMinor), createdAt: new Date(createdAt) };
}
