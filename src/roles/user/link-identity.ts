import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import { userErrors } from "./errors.ts";
import type { UserAnnouncements } from "./events.ts";
import type { Passwords } from "./password-hashing.ts";
import type { LoginAnswer, OpenIdContext } from "./prove-identity.ts";
import { proveIdentity } from "./prove-identity.ts";
import type { UserTables } from "./schema.ts";
import { findPassword } from "./store-credentials.ts";
import type { IdentityRow } from "./store-identities.ts";
import { deleteIdentity, findIdentity, insertIdentity, listIdentities, lockIdentity } from "./store-identities.ts";
import { endSessions } from "./store-sessions.ts";
import { refillBucket } from "./store-throttle.ts";
import { lockUser } from "./store.ts";
import { PASSWORD_LIMIT, passwordKey } from "./throttle.ts";
import { countTry } from "./throttle-tries.ts";

export interface LinkContext extends OpenIdContext {
  readonly passwords: Passwords;
  readonly announce: UserAnnouncements;
}

export interface LinkAttempt extends LoginAnswer {
  readonly userId: string;
  readonly password: string;
}

/**
 * Adds a login at a provider to an account. It takes the password: a stolen session must not become a login of its own.
 * One that the account has already stays as it is.
 * @throws AppError CREDENTIALS_INVALID, OPENID_LOGIN_INVALID, IDENTITY_TAKEN, PEER_DOWN, RATE_LIMITED, OVERLOADED
 */
export async function linkIdentity(
  context: LinkContext,
  { userId, password, ...answer }: LinkAttempt,
  signal: AbortSignal,
): Promise<IdentityRow> {
  const { db, clock, passwords, announce } = context;
  await countTry(db, passwordKey(userId), PASSWORD_LIMIT, clock.now());
  const known = await findPassword(db, userId);
  const isRight = await passwords.verify(password, known?.hash, signal);
  if (!known || !isRight) throw userErrors.CREDENTIALS_INVALID();
  const { identity } = await proveIdentity(context, answer, userId);
  return transaction(db, async (trx) => {
    // Before the user, as a first login does it.
    await lockIdentity(trx, identity);
    const user = await lockUser(trx, userId);
    // Meanwhile a new password may have been set, or the user deactivated: what a stolen session began ends there.
    const isStill = user.state === "active" && (await findPassword(trx, userId))?.version === known.version;
    if (!isStill) throw userErrors.CREDENTIALS_INVALID();
    await refillBucket(trx, passwordKey(userId));
    const linked = await findIdentity(trx, identity);
    if (linked?.user_id === userId) return linked;
    const { name: _, email = "", ...who } = identity;
    // Told by mail: whoever once knew the password may have done it.
    await announce.wished(trx, "loginAdded", userId, clock.now());
    return insertIdentity(trx, { id: newId(), user_id: userId, ...who, email, created_at: clock.now() });
  });
}

export interface UnlinkContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  readonly announce: UserAnnouncements;
}

/**
 * Removes a login from an account, and ends its other sessions: one may have come by it. Nothing where there is none.
 * @param sessionId the session that goes on
 * @throws AppError LAST_LOGIN
 */
export async function unlinkIdentity(
  { db, clock, announce }: UnlinkContext,
  userId: string,
  id: string,
  sessionId: string | undefined,
): Promise<void> {
  await transaction(db, async (trx) => {
    await lockUser(trx, userId);
    if (!(await deleteIdentity(trx, userId, id))) return;
    const isOpen = (await findPassword(trx, userId)) ?? (await listIdentities(trx, userId)).length > 0;
    if (!isOpen) throw userErrors.LAST_LOGIN();
    const others = { userId, ...(sessionId !== undefined && { except: sessionId }) };
    announce.sessionsEnded(trx, await endSessions(trx, others, clock.now()));
  });
}
