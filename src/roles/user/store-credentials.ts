import type { Kysely, Transaction } from "kysely";
import { sql } from "kysely";
import type { UserState, UserTables } from "./schema.ts";

/** A password as it was read: what follows from it counts as long as the version is the same. */
export interface KnownPassword {
  readonly userId: string;
  /** PHC string; see password.ts. */
  readonly hash: string;
  readonly version: number;
}

/** Who may log in with an email. */
export interface Account {
  readonly state: UserState;
  /** Undefined for an account without login. */
  readonly password: KnownPassword | undefined;
}

/** The account of an email, in any case. One statement, whether there is one or not: the time would tell. */
export async function findAccount(db: Kysely<UserTables>, email: string): Promise<Account | undefined> {
  const row = await db
    .selectFrom("users")
    .leftJoin("credentials", "credentials.user_id", "users.id")
    .select(["users.id", "users.state", "credentials.password_hash", "credentials.version"])
    // Lower-cased here, and emails are ASCII: what counts as one account when tries are counted is one account here.
    .where(sql<string>`lower(users.email)`, "=", email.toLowerCase())
    .executeTakeFirst();
  if (!row) return undefined;
  const { id, state, password_hash, version } = row;
  const isKnown = password_hash !== null && version !== null;
  return { state, password: isKnown ? { userId: id, hash: password_hash, version } : undefined };
}

/** The user who has an email, in any case, and may act. */
export async function findAccountId(db: Kysely<UserTables>, email: string): Promise<string | undefined> {
  const row = await db
    .selectFrom("users")
    .select("id")
    .where(sql<string>`lower(email)`, "=", email.toLowerCase())
    .where("state", "=", "active")
    .executeTakeFirst();
  return row?.id;
}

/** The password of a user; undefined for an account without login. */
export function findPassword(db: Kysely<UserTables>, userId: string): Promise<KnownPassword | undefined> {
  return db
    .selectFrom("credentials")
    .select(["user_id as userId", "password_hash as hash", "version"])
    .where("user_id", "=", userId)
    .executeTakeFirst();
}

/** Stores the first password of a user. */
export async function insertPassword(
  trx: Transaction<UserTables>,
  userId: string,
  hash: string,
  now: Date,
): Promise<void> {
  const row = { user_id: userId, password_hash: hash, version: 1, changed_at: now };
  await trx.insertInto("credentials").values(row).execute();
}

/** Replaces a password. False where it is not the known one any more. */
export async function updatePassword(
  trx: Transaction<UserTables>,
  known: KnownPassword,
  hash: string,
  now: Date,
): Promise<boolean> {
  const changed = await trx
    .updateTable("credentials")
    .set({ password_hash: hash, version: known.version + 1, changed_at: now })
    .where("user_id", "=", known.userId)
    .where("version", "=", known.version)
    .returning("user_id")
    .executeTakeFirst();
  return changed !== undefined;
}

/** Removes the known password: an account without login is left. Nothing where it has changed since. */
export async function removePassword(trx: Transaction<UserTables>, { userId, version }: KnownPassword): Promise<void> {
  await trx.deleteFrom("credentials").where("user_id", "=", userId).where("version", "=", version).execute();
}

/** Stores the known password hashed anew; nothing where it has changed since. */
export async function renewPassword(trx: Transaction<UserTables>, known: KnownPassword, hash: string): Promise<void> {
  await trx
    .updateTable("credentials")
    .set({ password_hash: hash })
    .where("user_id", "=", known.userId)
    .where("version", "=", known.version)
    .execute();
}
