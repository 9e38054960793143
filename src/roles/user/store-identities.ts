import type { Kysely, Selectable, Transaction } from "kysely";
import { sql } from "kysely";
import { onConstraint } from "../../platform/database.ts";
import { userErrors } from "./errors.ts";
import type { ExternalIdentities, UserTables } from "./schema.ts";

export type IdentityRow = Selectable<ExternalIdentities>;

const otherAccount = (cause: unknown) =>
  userErrors.IDENTITY_TAKEN({ message: "This login opens another account.", cause });
const otherLogin = (cause: unknown) =>
  userErrors.IDENTITY_TAKEN({ message: "The account has a login of this provider; unlink that one first.", cause });
const taken = {
  external_identities_issuer_subject_key: otherAccount,
  external_identities_user_issuer_key: otherLogin,
};

export function findIdentity(
  db: Kysely<UserTables>,
  { issuer, subject }: Pick<IdentityRow, "issuer" | "subject">,
): Promise<IdentityRow | undefined> {
  const query = db.selectFrom("external_identities").selectAll();
  return query.where("issuer", "=", issuer).where("subject", "=", subject).executeTakeFirst();
}

/** Until the end of the transaction, whoever gives this identity to an account too waits here. */
export async function lockIdentity(
  trx: Transaction<UserTables>,
  { issuer, subject }: Pick<IdentityRow, "issuer" | "subject">,
): Promise<void> {
  // Identities that share a number wait for each other, and no more.
  await sql`select pg_advisory_xact_lock(hashtextextended(${JSON.stringify([issuer, subject])}, 0))`.execute(trx);
}

/** The logins of a user, the oldest first; at most one of each issuer. */
export function listIdentities(db: Kysely<UserTables>, userId: string): Promise<IdentityRow[]> {
  return db.selectFrom("external_identities").selectAll().where("user_id", "=", userId).orderBy("id").execute();
}

/** @throws AppError IDENTITY_TAKEN */
export function insertIdentity(trx: Transaction<UserTables>, row: IdentityRow): Promise<IdentityRow> {
  return onConstraint(taken, () =>
    trx.insertInto("external_identities").values(row).returningAll().executeTakeFirstOrThrow(),
  );
}

/** Removes a login of a user. False where there is none such. Needs the lock of the user. */
export async function deleteIdentity(trx: Transaction<UserTables>, userId: string, id: string): Promise<boolean> {
  const query = trx.deleteFrom("external_identities").where("user_id", "=", userId).where("id", "=", id);
  return (await query.returning("id").executeTakeFirst()) !== undefined;
}

/** Removes the logins of a user whose provider vouched for another email than this one. Needs the lock of the user. */
export async function deleteOtherIdentities(
  trx: Transaction<UserTables>,
  userId: string,
  email: string,
): Promise<void> {
  await trx
    .deleteFrom("external_identities")
    .where("user_id", "=", userId)
    .where(sql<string>`lower(email)`, "!=", email.toLowerCase())
    .execute();
}

/** Uses up a login token, in one statement: of calls at once one gets true. */
export async function takeLoginToken(db: Kysely<UserTables>, hash: Buffer, expiresAt: Date): Promise<boolean> {
  const query = db.insertInto("used_login_tokens").values({ hash, expires_at: expiresAt });
  const inserted = await query
    .onConflict((conflict) => conflict.doNothing())
    .returning("hash")
    .executeTakeFirst();
  return inserted !== undefined;
}

/** Lets a login token be used again, after nothing came of it. */
export async function returnLoginToken(db: Kysely<UserTables>, hash: Buffer): Promise<void> {
  await db.deleteFrom("used_login_tokens").where("hash", "=", hash).execute();
}

/** Forgets up to a thousand used login tokens whose time is over. Answers how many. */
export async function pruneLoginTokens(db: Kysely<UserTables>, now: Date): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from used_login_tokens where hash = any (array(
      select hash from used_login_tokens where expires_at < ${now}::timestamptz limit 1000
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
