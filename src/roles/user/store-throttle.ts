import type { Kysely } from "kysely";
import { sql } from "kysely";
import type { UserTables } from "./schema.ts";
import type { Limit } from "./throttle.ts";

/**
 * Takes one attempt out of a bucket in one guarded statement: of calls at once, here or in another process, no more
 * pass than there are attempts. Answers undefined where there was one; else when the bucket is full again.
 *
 * A bucket is the moment at which it is full (GCRA): each attempt moves that by one interval, at most `burst` intervals
 * ahead of now.
 */
export async function takeAttempt(
  db: Kysely<UserTables>,
  key: Buffer,
  { burst, intervalMs }: Limit,
  now: Date,
): Promise<Date | undefined> {
  const latest = new Date(now.getTime() + (burst - 1) * intervalMs);
  const { rows } = await sql`
    insert into login_throttle as bucket (key, full_at)
    values (${key}, ${new Date(now.getTime() + intervalMs)}::timestamptz)
    on conflict (key) do update
      set full_at = greatest(bucket.full_at, ${now}::timestamptz) + ${intervalMs} * interval '1 millisecond'
      where bucket.full_at <= ${latest}::timestamptz
    returning 1
  `.execute(db);
  if (rows.length > 0) return undefined;
  // What a process wrote whose clock is ahead counts as an empty bucket from now on, and as no more.
  const empty = new Date(now.getTime() + burst * intervalMs);
  const { rows: buckets } = await sql<{ full_at: Date }>`
    update login_throttle set full_at = least(full_at, ${empty}::timestamptz) where key = ${key} returning full_at
  `.execute(db);
  return buckets[0]?.full_at ?? now;
}

/** Fills a bucket. */
export async function refillBucket(db: Kysely<UserTables>, key: Buffer): Promise<void> {
  await db.deleteFrom("login_throttle").where("key", "=", key).execute();
}

/** Forgets up to a thousand buckets that are full by themselves. Answers how many. */
export async function pruneBuckets(db: Kysely<UserTables>, now: Date): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from login_throttle where ctid = any (array(
      select ctid from login_throttle where full_at < ${now}::timestamptz limit 1000
    )) and full_at < ${now}::timestamptz
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
