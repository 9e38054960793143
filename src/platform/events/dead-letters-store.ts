import type { Kysely } from "kysely";
import { sql } from "kysely";
import { cancelledBy, transaction } from "../database.ts";
import { notFound } from "../errors.ts";

type Db = Kysely<unknown>;

export interface DeadLetterRow {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  readonly aggregate_id: string;
  readonly sequence: bigint;
  readonly attempts: number;
  readonly error: string;
  readonly occurred_at: Date;
  readonly failed_at: Date;
  /** Later events of the aggregate. */
  readonly waiting: bigint;
}

const columns = sql`
  id, topic, type, aggregate_id, sequence, attempts, coalesce(error, '') as error, occurred_at, failed_at, (
    select count(*) from inbox behind
    where behind.topic = inbox.topic and behind.aggregate_id = inbox.aggregate_id
      and behind.sequence > inbox.sequence and behind.state = 'waiting'
  ) as waiting
`;

/** Those after a position, the longest given up first. */
export async function listDeadLetters(
  db: Db,
  after: { readonly failedAt: string; readonly id: string } | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<DeadLetterRow[]> {
  const behind = after ? sql`and (failed_at, id) > (${after.failedAt}::timestamptz, ${after.id}::uuid)` : sql``;
  const { rows } = await sql<DeadLetterRow>`
    select ${columns} from inbox where state = 'dead' ${behind} order by failed_at, id limit ${limit}
  `.execute(db, cancelledBy(signal));
  return rows;
}

/** @throws AppError NOT_FOUND */
export async function getDeadLetter(
  db: Db,
  id: string,
  signal: AbortSignal,
): Promise<DeadLetterRow & { readonly payload: Buffer }> {
  const { rows } = await sql<DeadLetterRow & { readonly payload: Buffer }>`
    select ${columns}, payload from inbox where id = ${id}::uuid and state = 'dead'
  `.execute(db, cancelledBy(signal));
  if (!rows[0]) throw notFound("dead letter", id);
  return rows[0];
}

/** Has one tried anew, now and as often as a new one. @throws AppError NOT_FOUND where it never was a dead letter */
export async function replayDeadLetter(db: Db, id: string): Promise<void> {
  const { numAffectedRows } = await sql`
    update inbox set state = 'retrying', attempts = 0, next_attempt_at = clock_timestamp()
    where id = ${id}::uuid and state = 'dead'
  `.execute(db);
  if (numAffectedRows === 0n) await checkWasDead(db, id);
}

/** Passes over one, also while a replay is tried again, as if it had been applied. @throws AppError NOT_FOUND where it never was a dead letter */
export function skipDeadLetter(db: Db, id: string): Promise<void> {
  return transaction(db, async (trx) => {
    // The mark first, as everybody who moves it.
    await sql`
      select from inbox_marks join inbox using (topic, aggregate_id) where id = ${id}::uuid for update of inbox_marks
    `.execute(trx);
    const { rows } = await sql`
      with skipped as (
        update inbox set state = 'skipped', settled_at = clock_timestamp(), next_attempt_at = null
        where id = ${id}::uuid and (state = 'dead' or (state = 'retrying' and failed_at is not null))
        returning topic, aggregate_id, sequence
      )
      update inbox_marks mark set applied = skipped.sequence from skipped
      where mark.topic = skipped.topic and mark.aggregate_id = skipped.aggregate_id
        and mark.applied = skipped.sequence - 1
      returning 1
    `.execute(trx);
    if (rows.length === 0) await checkWasDead(trx, id);
  });
}

async function checkWasDead(db: Db, id: string): Promise<void> {
  const { rows } = await sql`select from inbox where id = ${id}::uuid and failed_at is not null`.execute(db);
  if (rows.length === 0) throw notFound("dead letter", id);
}
