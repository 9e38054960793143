import type { Kysely } from "kysely";
import { transaction } from "../../platform/database.ts";
import type { UserAnnouncements } from "./events.ts";
import type { UserRole } from "./permission.ts";
import type { UserTables } from "./schema.ts";
import { setUserRoles } from "./set-user-roles.ts";
import { findAccountId } from "./store-credentials.ts";
import { getUser } from "./store.ts";

/** Gives a role to the active user with an email. Answers all roles; undefined where there is no such user. */
export function grantRole(
  db: Kysely<UserTables>,
  email: string,
  role: UserRole,
  announce: UserAnnouncements,
): Promise<readonly UserRole[] | undefined> {
  return transaction(db, async (trx) => {
    const id = await findAccountId(trx, email);
    if (id === undefined) return undefined;
    const { roles } = await getUser(trx, id);
    return (await setUserRoles(trx, id, 0, [...roles, role], new Date(), announce)).roles;
  });
}
