import type { Kysely } from "kysely";
import { sql } from "kysely";

/**
 * Has the relay publish again what was published since a moment, for where a bus has lost it. Who has applied an event
 * drops it. Answers how many.
 */
export async function publishAgain<DB>(db: Kysely<DB>, since: Date): Promise<number> {
  const { numAffectedRows } = await sql`
    update outbox set published_at = null, published_by = null where published_at >= ${since}::timestamptz
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
