import type { Kysely, Selectable, Transaction } from "kysely";
import { sql } from "kysely";
import { cancelledBy } from "../../platform/database.ts";
import type { RefreshTokens, Sessions, UserTables } from "./schema.ts";
import { MOST_SESSIONS } from "./session.ts";

export type SessionRow = Selectable<Sessions>;
export type RefreshTokenRow = Selectable<RefreshTokens>;

/** The channel on which ended sessions are announced; the payload is empty. */
export const REVOCATION_CHANNEL = "revocations";

/** Milliseconds that an ended session is told to those who watch: longer than an access token lives. */
export const REVOCATION_MS = 15 * 60_000;

/** Milliseconds that used refresh tokens, and sessions that are over, are kept: 30 days. */
const KEPT_MS = 30 * 24 * 3_600_000;

/** Opens a session with its first refresh token. */
export async function insertSession(
  trx: Transaction<UserTables>,
  session: SessionRow,
  tokenHash: Buffer,
): Promise<void> {
  await trx.insertInto("sessions").values(session).execute();
  await insertRefreshToken(trx, session.id, tokenHash, session.created_at);
}

async function insertRefreshToken(trx: Transaction<UserTables>, sessionId: string, hash: Buffer, now: Date) {
  await trx
    .insertInto("refresh_tokens")
    .values({ hash, session_id: sessionId, issued_at: now, used_at: null })
    .execute();
}

/** Locks the session of a refresh token; undefined where nobody was given such a token. */
export function lockSessionOf(trx: Transaction<UserTables>, tokenHash: Buffer): Promise<SessionRow | undefined> {
  return trx
    .selectFrom("sessions")
    .selectAll()
    .where("id", "=", (eb) => eb.selectFrom("refresh_tokens").select("session_id").where("hash", "=", tokenHash))
    .forUpdate()
    .executeTakeFirst();
}

/** A refresh token by its hash. Read it under the lock of its session. */
export function findRefreshToken(trx: Transaction<UserTables>, hash: Buffer): Promise<RefreshTokenRow | undefined> {
  return trx.selectFrom("refresh_tokens").selectAll().where("hash", "=", hash).executeTakeFirst();
}

/** Puts the successor in the place of a live token, prolongs the session, and forgets its used tokens of long ago. */
export async function exchangeRefreshToken(
  trx: Transaction<UserTables>,
  token: Pick<RefreshTokenRow, "hash" | "session_id">,
  successorHash: Buffer,
  now: Date,
  expiresAt: Date,
): Promise<void> {
  await trx.updateTable("refresh_tokens").set({ used_at: now }).where("hash", "=", token.hash).execute();
  await insertRefreshToken(trx, token.session_id, successorHash, now);
  await trx
    .updateTable("sessions")
    .set({ last_used_at: now, expires_at: expiresAt })
    .where("id", "=", token.session_id)
    .execute();
  await trx
    .deleteFrom("refresh_tokens")
    .where("session_id", "=", token.session_id)
    .where("used_at", "<", new Date(now.getTime() - KEPT_MS))
    .execute();
}

/** The open sessions of a user, the last used first. */
export function listSessions(
  db: Kysely<UserTables>,
  userId: string,
  now: Date,
  signal: AbortSignal,
): Promise<SessionRow[]> {
  return db
    .selectFrom("sessions")
    .selectAll()
    .where("user_id", "=", userId)
    .where("ended_at", "is", null)
    .where("expires_at", ">", now)
    .orderBy("last_used_at", "desc")
    .orderBy("id", "desc")
    .limit(MOST_SESSIONS)
    .execute(cancelledBy(signal));
}

/** Which sessions of a user: one, or all, or all but one. */
export interface WhichSessions {
  readonly userId: string;
  readonly only?: string;
  readonly except?: string;
}

/**
 * Ends those of the sessions that are open and tells it to those who watch, in one transaction. Answers their ids.
 * Locks of one call: the user, then sessions, then the positions of {@link insertRevocations}.
 */
export async function endSessions(
  trx: Transaction<UserTables>,
  { userId, only, except }: WhichSessions,
  now: Date,
): Promise<string[]> {
  let query = trx
    .updateTable("sessions")
    .set({ ended_at: now })
    .where("user_id", "=", userId)
    .where("ended_at", "is", null)
    .where("expires_at", ">", now);
  if (only !== undefined) query = query.where("id", "=", only);
  if (except !== undefined) query = query.where("id", "!=", except);
  const ended = await query.returning("id").execute();
  await insertRevocations(trx, ended, now);
  return ended.map(({ id }) => id);
}

/**
 * Ends the oldest of the sessions of a user that are over {@link MOST_SESSIONS}. Needs the lock of the user. Answers
 * their ids.
 */
export async function endOldestSessions(trx: Transaction<UserTables>, userId: string, now: Date): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    update sessions set ended_at = ${now}::timestamptz
    where ended_at is null and id in (
      select id from sessions where user_id = ${userId} and ended_at is null and expires_at > ${now}::timestamptz
      order by id desc offset ${MOST_SESSIONS}
    )
    returning id
  `.execute(trx);
  await insertRevocations(trx, rows, now);
  return rows.map(({ id }) => id);
}

/**
 * Tells that sessions have ended, and forgets what was told long ago.
 *
 * Whoever watches remembers a position and asks for what is after it, so a lower position must not become visible after
 * a higher one. A sequence alone does not promise that: numbers are drawn before the commit, and transactions commit in
 * any order. So the numbers are drawn under a lock that lasts until the commit is visible. It is the last lock that a
 * transaction takes, and only those wait for it that end sessions.
 */
async function insertRevocations(
  trx: Transaction<UserTables>,
  sessions: readonly Pick<SessionRow, "id">[],
  now: Date,
): Promise<void> {
  if (sessions.length === 0) return;
  await sql`select pg_advisory_xact_lock(hashtext('revocations'))`.execute(trx);
  await sql`
    insert into revocations (session_id, at)
    select id, ${now}::timestamptz from unnest(${sessions.map(({ id }) => id)}::uuid[]) as id
  `.execute(trx);
  await trx
    .deleteFrom("revocations")
    .where("at", "<", new Date(now.getTime() - REVOCATION_MS))
    .execute();
  // Arrives at the commit.
  await sql`select pg_notify(${REVOCATION_CHANNEL}, '')`.execute(trx);
}

export interface Revocation {
  readonly position: bigint;
  readonly sessionId: string;
}

/** The sessions that ended after a position, in the order of positions. */
export function listRevocations(
  db: Kysely<UserTables>,
  after: bigint,
  limit: number,
  signal: AbortSignal,
): Promise<Revocation[]> {
  return db
    .selectFrom("revocations")
    .select(["position", "session_id as sessionId"])
    .where("position", ">", after)
    .orderBy("position")
    .limit(limit)
    .execute(cancelledBy(signal));
}

/** The last position that was ever given out; 0 before the first. */
export async function lastPosition(db: Kysely<UserTables>): Promise<bigint> {
  const { rows } = await sql<{ position: bigint }>`
    select case when is_called then last_value else 0 end as position from revocations_position_seq
  `.execute(db);
  return rows[0]?.position ?? 0n;
}

/** Forgets up to a thousand sessions, with their tokens, that were over long ago. Answers how many. */
export async function pruneSessions(db: Kysely<UserTables>, now: Date): Promise<number> {
  const before = new Date(now.getTime() - KEPT_MS);
  const { numAffectedRows } = await sql`
    delete from sessions where id = any (array(
      (select id from sessions where expires_at < ${before}::timestamptz limit 500)
      union
      (select id from sessions where ended_at < ${before}::timestamptz limit 500)
    ))
  `.execute(db);
  return Number(numAffectedRows ?? 0n);
}
