import type { Kysely, RawBuilder, Transaction } from "kysely";
import { sql } from "kysely";
import { pruneInBatches } from "../../platform/keep-pruning.ts";
import type { Outcome, SagaKind, SagaStep } from "./saga.ts";
import { SAGA_VERSION } from "./saga.ts";
import type { OrderTables } from "./schema.ts";

type Db = Kysely<OrderTables>;

/** A saga that this process may carry on with until its lease ends. */
export interface LeasedSaga {
  readonly id: string;
  readonly orderId: string;
  readonly kind: SagaKind;
  readonly step: SagaStep;
  readonly attempts: number;
  readonly stepSince: Date;
  readonly outcome: Outcome | undefined;
  readonly token: bigint;
  /** How often it had been woken from outside when it was leased. */
  readonly wakes: number;
}

/** Notes work to be done for an order; it is due at once. The order is locked. */
export async function insertSaga(
  trx: Transaction<OrderTables>,
  saga: { readonly id: string; readonly orderId: string; readonly kind: SagaKind; readonly step: SagaStep },
  now: Date,
): Promise<void> {
  await trx
    .insertInto("sagas")
    .values({
      id: saga.id,
      order_id: saga.orderId,
      kind: saga.kind,
      version: SAGA_VERSION,
      step: saga.step,
      step_since: now,
      due_at: sql<Date>`clock_timestamp()`,
      created_at: now,
    })
    .execute();
}

/** How many sagas are taken at most. */
export interface LeaseWish {
  /** Of those that stand at a step for the first time, or wait for something else than the payment provider. */
  readonly most: number;
  /** Of those whose payment is asked for again: a provider that hangs must not take all places. */
  readonly mostAgain: number;
}

/**
 * Takes due sagas that nobody holds, the longest due first; each begins its step once more. Times are the database's:
 * processes differ. Versions that this build does not know are left alone.
 *
 * `now()` and not `clock_timestamp()` is compared with due_at: only that can be looked up in the index.
 */
export async function leaseSagas(db: Db, { most, mostAgain }: LeaseWish, leaseMs: number): Promise<LeasedSaga[]> {
  const due = (which: RawBuilder<unknown>, limit: number) => sql`
    array(
      select id from sagas where ${isDue} and ${which}
      order by due_at limit ${limit} for update skip locked
    )
  `;
  const { rows } = await sql<LeasedSaga>`
    update sagas set lease_token = lease_token + 1, attempts = attempts + 1, leased_until = ${inMs(leaseMs)}
    where id = any (${due(sql`not ${asksAgain}`, most)} || ${due(asksAgain, mostAgain)})
    returning id, order_id as "orderId", kind, step, attempts, step_since as "stepSince", outcome,
      lease_token as token, wakes
  `.execute(db);
  return rows.map((row) => ({ ...row, outcome: row.outcome ?? undefined }));
}

const isDue = sql`(
  finished_at is null and due_at <= now() and (leased_until is null or leased_until <= now())
  and version = ${SAGA_VERSION}::int
)`;

/** The provider was asked before, and has not told: see {@link isAskingAgain}. */
const asksAgain = sql`(step in ('AUTHORIZE', 'CAPTURE', 'REFUND') and attempts > 0)`;

/** Whether a leased saga asks for a payment again. */
export function isAskingAgain({ step, attempts }: Pick<LeasedSaga, "step" | "attempts">): boolean {
  return ["AUTHORIZE", "CAPTURE", "REFUND"].includes(step) && attempts > 1;
}

/** What is written of a saga after an answer. */
export interface SagaMove {
  /** Undefined: it is finished. */
  readonly step: SagaStep | undefined;
  /** Undefined: it goes on at once, and stays leased. */
  readonly waitMs: number | undefined;
  readonly outcome: Outcome | undefined;
}

/**
 * Notes where a saga stands, and renews or gives up its lease. Answers false, and changes nothing, where the lease is
 * another's by now. Who gives it up and was woken meanwhile is due at once.
 */
export async function moveSaga(
  trx: Transaction<OrderTables>,
  saga: LeasedSaga,
  move: SagaMove,
  leaseMs: number,
  now: Date,
): Promise<boolean> {
  const { step = saga.step, waitMs } = move;
  const isNext = step !== saga.step;
  const isKept = move.step !== undefined && waitMs === undefined;
  const dueAt = sql<Date>`case when wakes <> ${saga.wakes} then clock_timestamp() else ${inMs(waitMs ?? 0)} end`;
  const { numUpdatedRows } = await trx
    .updateTable("sagas")
    .set({
      step,
      ...(isNext && { attempts: isKept ? 1 : 0, step_since: now }),
      outcome: move.outcome ? JSON.stringify(move.outcome) : null,
      leased_until: isKept ? inMs(leaseMs) : null,
      finished_at: move.step === undefined ? now : null,
      ...(!isKept && { due_at: dueAt }),
    })
    .where("id", "=", saga.id)
    .where("lease_token", "=", saga.token)
    .where("finished_at", "is", null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Has what is under way for orders looked at now; counts for who holds it at this moment, too. */
export async function wakeSagas(trx: Transaction<OrderTables>, orderIds: readonly string[]): Promise<void> {
  await sql`
    update sagas set due_at = clock_timestamp(), wakes = wakes + 1
    where id = any (array(
      select id from sagas where order_id = any (${orderIds}::uuid[]) and finished_at is null order by id for update
    ))
  `.execute(trx);
}

/** Days that finished work is remembered, for people; nothing looks at it any more. */
const KEPT_DAYS = 30;

/** Forgets what has been finished for thirty days, a thousand at a time. */
export function pruneSagas(db: Db): Promise<void> {
  return pruneInBatches((most) =>
    sql`
      delete from sagas where id = any (array(
        select id from sagas where finished_at < now() - make_interval(days => ${KEPT_DAYS}) limit ${most}
      ))
    `.execute(db),
  );
}

/** Whether anything else is under way for an order. */
export async function hasOtherSagas(db: Db, saga: Pick<LeasedSaga, "id" | "orderId">): Promise<boolean> {
  const other = await db
    .selectFrom("sagas")
    .select("id")
    .where("order_id", "=", saga.orderId)
    .where("finished_at", "is", null)
    .where("id", "!=", saga.id)
    .executeTakeFirst();
  return other !== undefined;
}

/**
 * Milliseconds that the longest due saga which nobody has taken waits; 0 where there is none. Those that wait for the payment
 * provider do not count, nor does the time of a lease that lapsed.
 */
export async function oldestDueMs(db: Db): Promise<number> {
  const { rows } = await sql<{ ms: number | null }>`
    select (extract(epoch from now() - min(greatest(due_at, leased_until))) * 1000)::float8 as ms
    from (select due_at, leased_until from sagas where ${isDue} and not ${asksAgain} order by due_at limit 1000) as due
  `.execute(db);
  return rows[0]?.ms ?? 0;
}

function inMs(ms: number) {
  return sql<Date>`clock_timestamp() + make_interval(secs => ${ms / 1_000})`;
}
