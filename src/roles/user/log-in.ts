import { userErrors } from "./errors.ts";
import type { LoggedIn, SessionContext } from "./open-session.ts";
import { openSession } from "./open-session.ts";
import type { Passwords } from "./password-hashing.ts";
import { findAccount, findPassword, renewPassword } from "./store-credentials.ts";
import { refillBucket } from "./store-throttle.ts";
import { lockUser } from "./store.ts";
import { accountKey } from "./throttle.ts";
import { countLogin } from "./throttle-tries.ts";

export interface AuthContext extends SessionContext {
  readonly passwords: Passwords;
}

export interface LoginAttempt {
  readonly email: string;
  readonly password: string;
  /** Of the client; undefined where it is not known. */
  readonly address: string | undefined;
  /** What the client calls itself. */
  readonly agent: string | undefined;
}

/**
 * Opens a session.
 * @throws AppError RATE_LIMITED, OVERLOADED; CREDENTIALS_INVALID for whatever else is wrong, after the same time
 */
export async function logIn(
  context: AuthContext,
  { email, password, address, agent }: LoginAttempt,
  signal: AbortSignal,
): Promise<LoggedIn> {
  const { db, clock, passwords } = context;
  await countLogin(db, email, address, clock);
  const account = await findAccount(db, email);
  const known = account?.state === "active" ? account.password : undefined;
  const isRight = await passwords.verify(password, known?.hash, signal);
  if (!known || !isRight) throw userErrors.CREDENTIALS_INVALID();

  const renewed = await passwords.renew(password, known.hash, signal);
  return openSession(context, agent, async (trx) => {
    // Meanwhile the user may have been deactivated or the password changed, which ends the sessions that it finds.
    const user = await lockUser(trx, known.userId);
    const current = await findPassword(trx, known.userId);
    if (user.state !== "active" || current?.version !== known.version) throw userErrors.CREDENTIALS_INVALID();
    if (renewed !== undefined) await renewPassword(trx, known, renewed);
    await refillBucket(trx, accountKey(email));
    return user;
  });
}
