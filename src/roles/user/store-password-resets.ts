import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { UserTables } from "./schema.ts";

/** Notes that somebody wants to set the password of an email, in lower case, whether there is such an account or not. */
export async function insertResetRequest(
  trx: Transaction<UserTables>,
  id: string,
  email: string,
  now: Date,
): Promise<void> {
  await trx.insertInto("password_reset_requests").values({ id, email, requested_at: now }).execute();
}

/** Takes up to a hundred of the oldest out, that nobody else is taking. Answers their emails. */
export async function takeResetRequests(trx: Transaction<UserTables>): Promise<string[]> {
  const { rows } = await sql<{ email: string }>`
    delete from password_reset_requests where id = any (array(
      select id from password_reset_requests order by id limit 100 for update skip locked
    )) returning email
  `.execute(trx);
  return rows.map(({ email }) => email);
}

/** Whether there is any: the look of a poll. */
export async function isResetRequested(db: Kysely<UserTables>): Promise<boolean> {
  return (await db.selectFrom("password_reset_requests").select("id").limit(1).execute()).length > 0;
}
