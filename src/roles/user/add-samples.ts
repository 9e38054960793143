import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { UserAnnouncements } from "./events.ts";
import type { Passwords } from "./password-hashing.ts";
import { SAMPLE_ACCOUNTS, SAMPLE_PASSWORD } from "./sample-accounts.ts";
import type { UserTables } from "./schema.ts";
import { findAccount, insertPassword, removePassword } from "./store-credentials.ts";
import { endSessions } from "./store-sessions.ts";
import { insertUser, isWithoutUsers, lockSamples, removeRoles } from "./store.ts";

/** Adds the sample accounts where there is no user, all of them or none. */
export async function addSamples(
  db: Kysely<UserTables>,
  passwords: Passwords,
  clock: Clock,
  announce: UserAnnouncements,
): Promise<void> {
  if (!(await isWithoutUsers(db))) return;
  const accounts = await Promise.all(
    SAMPLE_ACCOUNTS.map(async (account) => ({ ...account, hash: await passwords.hash(SAMPLE_PASSWORD) })),
  );
  await transaction(db, async (trx) => {
    // Of two processes that start at once the second waits, and finds it done.
    await lockSamples(trx);
    if (!(await isWithoutUsers(trx))) return;
    const now = clock.now();
    for (const { email, name, roles, hash } of accounts) {
      const fields = {
        id: newId(),
        email,
        display_name: name,
        state: "active" as const,
        roles,
        version: 1,
        locale: "",
      };
      const user = await insertUser(trx, { ...fields, email_confirmed_at: now, created_at: now, updated_at: now });
      await insertPassword(trx, user.id, hash, now);
      await announce.changed(trx, "created", user);
    }
  });
}

/**
 * Takes the login, and the roles, from the sample accounts that still have the password which everybody knows: they were
 * made when only this machine reached the shop. One whose password was changed stays as it is.
 */
export async function lockSamplesOut(
  db: Kysely<UserTables>,
  passwords: Passwords,
  clock: Clock,
  announce: UserAnnouncements,
): Promise<void> {
  for (const { email } of SAMPLE_ACCOUNTS) {
    const password = (await findAccount(db, email))?.password;
    if (!password || !(await passwords.verify(SAMPLE_PASSWORD, password.hash))) continue;
    await transaction(db, async (trx) => {
      await removePassword(trx, password);
      await announce.changed(trx, "rolesChanged", await removeRoles(trx, password.userId, clock.now()));
      announce.sessionsEnded(trx, await endSessions(trx, { userId: password.userId }, clock.now()));
    });
  }
}
