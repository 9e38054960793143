import type { Transaction } from "kysely";
import { userErrors } from "./errors.ts";
import type { UserAnnouncements } from "./events.ts";
import type { UserRole } from "./permission.ts";
import { sortedRoles } from "./permission.ts";
import type { UserTables } from "./schema.ts";
import { endSessions } from "./store-sessions.ts";
import type { UserRow } from "./store.ts";
import { isAdminLeft, lockUser, updateUser } from "./store.ts";

/**
 * Gives a user these roles and no others. One that has them already stays as it is, whatever version is expected. Where
 * a role is taken away the sessions end: their tokens carry its permissions.
 * @throws AppError NOT_FOUND, VERSION_MISMATCH, LAST_ADMIN
 */
export async function setUserRoles(
  trx: Transaction<UserTables>,
  id: string,
  expectedVersion: number,
  roles: readonly UserRole[],
  now: Date,
  announce: UserAnnouncements,
): Promise<UserRow> {
  const user = await lockUser(trx, id);
  const wanted = sortedRoles(roles);
  const taken = user.roles.filter((role) => !wanted.includes(role));
  if (taken.length === 0 && wanted.length === user.roles.length) return user;
  const changed = await updateUser(trx, id, expectedVersion, { roles: wanted }, now);
  await announce.changed(trx, "rolesChanged", changed);
  if (taken.includes("admin") && user.state === "active" && !(await isAdminLeft(trx))) throw userErrors.LAST_ADMIN();
  if (taken.length > 0) announce.sessionsEnded(trx, await endSessions(trx, { userId: id }, now));
  return changed;
}
