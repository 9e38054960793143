import type { Kysely } from "kysely";
import { sql } from "kysely";

/** Days that events are kept after they were published, or applied. */
const KEPT_DAYS = 7;
/** Milliseconds between runs. */
export const PRUNE_EVERY_MS = 3_600_000;
const BATCH = 1_000;

/**
 * Forgets events published more than seven days ago, a thousand at a time, and notes in their sequences when they were
 * published: whether a new consumer got them is told by that. Answers how many.
 */
export function pruneOutbox(db: Kysely<unknown>): Promise<number> {
  return inBatches(async () => {
    const { rows } = await sql<{ pruned: bigint }>`
      with old as (
        select id, aggregate_id, published_at from outbox
        where published_at < now() - make_interval(days => ${KEPT_DAYS}) order by published_at limit ${BATCH}
      ),
      -- In one order, and not those that somebody emits for at this moment: they come with the next run.
      locked as (
        select aggregate_id from outbox_sequences where aggregate_id in (select aggregate_id from old)
        order by aggregate_id for update skip locked
      ),
      noted as (
        update outbox_sequences numbered set pruned_at = greatest(numbered.pruned_at, newest.published_at)
        from (
          select aggregate_id, max(published_at) as published_at from old join locked using (aggregate_id)
          group by aggregate_id
        ) newest
        where numbered.aggregate_id = newest.aggregate_id
      ),
      gone as (
        delete from outbox where id in (select id from old join locked using (aggregate_id)) returning 1
      )
      select count(*) as pruned from gone
    `.execute(db);
    return Number(rows[0]?.pruned ?? 0n);
  });
}

/** Forgets events applied or skipped more than seven days ago; the marks stay, and know them still. */
export function pruneInbox(db: Kysely<unknown>): Promise<number> {
  return inBatches(async () => {
    const { numAffectedRows } = await sql`
      delete from inbox where ctid = any (array(
        select ctid from inbox
        where state in ('applied', 'skipped') and settled_at < now() - make_interval(days => ${KEPT_DAYS})
        limit ${BATCH}
      ))
    `.execute(db);
    return Number(numAffectedRows ?? 0n);
  });
}

async function inBatches(batch: () => Promise<number>): Promise<number> {
  let total = 0;
  for (;;) {
    const done = await batch();
    total += done;
    if (done < BATCH) return total;
  }
}
