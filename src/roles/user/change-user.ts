import type { Transaction } from "kysely";
import { versionMismatch } from "../../platform/errors.ts";
import { userErrors } from "./errors.ts";
import type { UserAnnouncements } from "./events.ts";
import type { UserState, UserTables } from "./schema.ts";
import { endSessions } from "./store-sessions.ts";
import type { UserChange, UserRow } from "./store.ts";
import { getUser, isAdminLeft, lockUser, updateUser } from "./store.ts";

/**
 * Changes the fields that are present; with none it answers the user as it is.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, EMAIL_TAKEN
 */
export async function changeUser(
  trx: Transaction<UserTables>,
  id: string,
  expectedVersion: number,
  change: UserChange,
  now: Date,
  announce: UserAnnouncements,
): Promise<UserRow> {
  if (Object.keys(change).length === 0) {
    const user = await getUser(trx, id);
    if (expectedVersion !== 0 && user.version !== expectedVersion) throw versionMismatch(user.version);
    return user;
  }
  const user = await lockUser(trx, id);
  const isOtherEmail = change.email !== undefined && change.email.toLowerCase() !== user.email.toLowerCase();
  const columns = { ...change, ...(isOtherEmail && { email_confirmed_at: null }) };
  const changed = await updateUser(trx, id, expectedVersion, columns, now);
  await announce.changed(trx, "updated", changed);
  if (isOtherEmail) await announce.wished(trx, "emailConfirmationRequested", id, now);
  return changed;
}

/**
 * Brings a user into a state. One that is in it already stays as it is, whatever version is expected: a repeated call
 * carries the version of before the first. Who is deactivated loses all sessions.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, LAST_ADMIN
 */
export async function changeUserState(
  trx: Transaction<UserTables>,
  id: string,
  expectedVersion: number,
  state: UserState,
  now: Date,
  announce: UserAnnouncements,
): Promise<UserRow> {
  const user = await lockUser(trx, id);
  if (user.state === state) return user;
  const changed = await updateUser(trx, id, expectedVersion, { state }, now);
  await announce.changed(trx, state === "active" ? "reactivated" : "deactivated", changed);
  if (state === "active") return changed;
  if (user.roles.includes("admin") && !(await isAdminLeft(trx))) throw userErrors.LAST_ADMIN();
  announce.sessionsEnded(trx, await endSessions(trx, { userId: id }, now));
  return changed;
}
