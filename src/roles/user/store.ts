import type { Kysely, Selectable, Transaction } from "kysely";
import { sql } from "kysely";
import { cancelledBy, onConstraint } from "../../platform/database.ts";
import { notFound, versionMismatch } from "../../platform/errors.ts";
import { userErrors } from "./errors.ts";
import type { UserRole } from "./permission.ts";
import type { UserState, UserTables, Users } from "./schema.ts";

export type UserRow = Selectable<Users>;

const taken = { users_email_key: (cause: unknown) => userErrors.EMAIL_TAKEN({ cause }) };

/** @throws AppError EMAIL_TAKEN */
export function insertUser(db: Kysely<UserTables>, user: UserRow): Promise<UserRow> {
  return onConstraint(taken, () => db.insertInto("users").values(user).returningAll().executeTakeFirstOrThrow());
}

export function findUser(db: Kysely<UserTables>, id: string): Promise<UserRow | undefined> {
  return db.selectFrom("users").selectAll().where("id", "=", id).executeTakeFirst();
}

/** @throws AppError NOT_FOUND */
export async function getUser(db: Kysely<UserTables>, id: string): Promise<UserRow> {
  const user = await findUser(db, id);
  if (!user) throw notFound("user", id);
  return user;
}

/** @throws AppError NOT_FOUND */
export async function lockUser(trx: Transaction<UserTables>, id: string): Promise<UserRow> {
  const user = await trx.selectFrom("users").selectAll().where("id", "=", id).forUpdate().executeTakeFirst();
  if (!user) throw notFound("user", id);
  return user;
}

/** Those of the ids that exist, in no order. */
export function findUsers(db: Kysely<UserTables>, ids: readonly string[], signal: AbortSignal): Promise<UserRow[]> {
  const query = db.selectFrom("users").selectAll().where(sql<boolean>`id = any (${ids}::uuid[])`);
  return query.execute(cancelledBy(signal));
}

export interface UserFilter {
  readonly state: UserState | undefined;
  /** Of the email or the display name, without regard to case; empty for all. */
  readonly prefix: string;
}

/** The newest first, those before the id `after` in that order. */
export function listUsers(
  db: Kysely<UserTables>,
  { state, prefix }: UserFilter,
  after: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<UserRow[]> {
  let query = db.selectFrom("users").selectAll().orderBy("id", "desc").limit(limit);
  if (state !== undefined) query = query.where("state", "=", state);
  if (after !== undefined) query = query.where("id", "<", after);
  if (prefix !== "") {
    const pattern = `${prefix.replace(/[\\%_]/g, "\\$&")}%`;
    query = query.where(
      sql<boolean>`(lower(email) like lower(${pattern}) or lower(display_name) like lower(${pattern}))`,
    );
  }
  return query.execute(cancelledBy(signal));
}

export interface UserChange {
  readonly email?: string;
  readonly display_name?: string;
  readonly state?: UserState;
  readonly roles?: UserRole[];
  readonly locale?: string;
  /** Null with another email: nobody knows yet whether mail to it arrives. */
  readonly email_confirmed_at?: null;
}

/**
 * Changes a user in one guarded statement.
 * @param expectedVersion 0 skips the check
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, EMAIL_TAKEN
 */
export async function updateUser(
  trx: Transaction<UserTables>,
  id: string,
  expectedVersion: number,
  change: UserChange,
  now: Date,
): Promise<UserRow> {
  let query = trx
    .updateTable("users")
    .set((eb) => ({ ...change, version: eb("version", "+", 1), updated_at: now }))
    .where("id", "=", id);
  if (expectedVersion !== 0) query = query.where("version", "=", expectedVersion);
  const changed = await onConstraint(taken, () => query.returningAll().executeTakeFirst());
  if (changed) return changed;
  throw versionMismatch((await getUser(trx, id)).version);
}

/** Notes that mail to the user's email arrives. Needs the lock of the user. */
export function confirmUserEmail(trx: Transaction<UserTables>, id: string, now: Date): Promise<UserRow> {
  return trx
    .updateTable("users")
    .set((eb) => ({ email_confirmed_at: now, version: eb("version", "+", 1), updated_at: now }))
    .where("id", "=", id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/**
 * Whether an active admin is left, as of a moment that no other call that takes one away shares: until the end of the
 * transaction they wait for each other here. Ask after the change.
 */
export async function isAdminLeft(trx: Transaction<UserTables>): Promise<boolean> {
  await sql`select pg_advisory_xact_lock(hashtext('admins'))`.execute(trx);
  const { rows } = await sql`
    select 1 from users where 'admin' = any (roles) and state = 'active' limit 1
  `.execute(trx);
  return rows.length > 0;
}

/** Whether there is no user yet. */
export async function isWithoutUsers(db: Kysely<UserTables>): Promise<boolean> {
  return (await db.selectFrom("users").select("id").limit(1).execute()).length === 0;
}

/** Until the end of the transaction, whoever adds the sample accounts too waits here. */
export async function lockSamples(trx: Transaction<UserTables>): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('samples'))`.execute(trx);
}

/** Takes all roles from a user. */
export function removeRoles(trx: Transaction<UserTables>, id: string, now: Date): Promise<UserRow> {
  return trx
    .updateTable("users")
    .set((eb) => ({ roles: [], version: eb("version", "+", 1), updated_at: now }))
    .where("id", "=", id)
    .returningAll()
    .executeTakeFirstOrThrow();
}
