import { transaction } from "../../platform/database.ts";
import { userErrors } from "./errors.ts";
import type { AuthContext } from "./log-in.ts";
import { findPassword, updatePassword } from "./store-credentials.ts";
import { endSessions } from "./store-sessions.ts";
import { refillBucket } from "./store-throttle.ts";
import { lockUser } from "./store.ts";
import { PASSWORD_LIMIT, passwordKey } from "./throttle.ts";
import { countTry } from "./throttle-tries.ts";

export interface PasswordChange {
  readonly userId: string;
  /** The session that goes on; the others end. */
  readonly sessionId: string | undefined;
  readonly current: string;
  readonly next: string;
}

/**
 * Sets another password.
 * @throws AppError CREDENTIALS_INVALID, RATE_LIMITED, OVERLOADED
 */
export async function changePassword(
  { db, clock, passwords, announce }: AuthContext,
  { userId, sessionId, current, next }: PasswordChange,
  signal: AbortSignal,
): Promise<void> {
  const tries = passwordKey(userId);
  await countTry(db, tries, PASSWORD_LIMIT, clock.now());
  const known = await findPassword(db, userId);
  const isRight = await passwords.verify(current, known?.hash, signal);
  if (!known || !isRight) throw userErrors.CREDENTIALS_INVALID();
  const hash = await passwords.hash(next, signal);
  await transaction(db, async (trx) => {
    const now = clock.now();
    // A login that is under way waits here, and finds that its password is not the one any more.
    await lockUser(trx, userId);
    if (!(await updatePassword(trx, known, hash, now))) throw userErrors.CREDENTIALS_INVALID();
    await announce.wished(trx, "passwordChanged", userId, now);
    const others = { userId, ...(sessionId !== undefined && { except: sessionId }) };
    announce.sessionsEnded(trx, await endSessions(trx, others, now));
    await refillBucket(trx, tries);
  });
}
