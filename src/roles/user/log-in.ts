import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { AccessToken } from "./access-token.ts";
import { signAccessToken } from "./access-token.ts";
import { userErrors } from "./errors.ts";
import type { UserAnnouncements } from "./events.ts";
import type { SigningKeyRing } from "./keep-signing-keys.ts";
import type { Passwords } from "./password-hashing.ts";
import { permissionsOf } from "./permission.ts";
import { newRefreshToken } from "./refresh-token.ts";
import type { UserTables } from "./schema.ts";
import { clientName, sessionExpiry } from "./session.ts";
import { findAccount, findPassword, renewPassword } from "./store-credentials.ts";
import { endOldestSessions, insertSession } from "./store-sessions.ts";
import { refillBucket } from "./store-throttle.ts";
import type { UserRow } from "./store.ts";
import { lockUser } from "./store.ts";
import { accountKey } from "./throttle.ts";
import { countLogin } from "./throttle-tries.ts";

export interface AuthContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  readonly passwords: Passwords;
  readonly signingKeys: SigningKeyRing;
  /** 32 bytes from which the successors of refresh tokens follow. */
  readonly refreshSecret: Buffer;
  readonly announce: UserAnnouncements;
}

/** What a session goes on with. */
export interface Tokens {
  readonly access: AccessToken;
  readonly refreshToken: string;
  readonly refreshExpiresAt: Date;
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
): Promise<{ readonly user: UserRow; readonly tokens: Tokens }> {
  const { db, clock, passwords, announce } = context;
  await countLogin(db, email, address, clock);
  const account = await findAccount(db, email);
  const known = account?.state === "active" ? account.password : undefined;
  const isRight = await passwords.verify(password, known?.hash, signal);
  if (!known || !isRight) throw userErrors.CREDENTIALS_INVALID();

  const renewed = await passwords.renew(password, known.hash, signal);
  // Before the session: what fails here has had no effect.
  const signer = await context.signingKeys.signer();
  const now = clock.now();
  const refresh = newRefreshToken();
  const session = {
    id: newId(),
    user_id: known.userId,
    client: clientName(agent),
    created_at: now,
    last_used_at: now,
    expires_at: sessionExpiry(now),
    ended_at: null,
  };
  const user = await transaction(db, async (trx) => {
    // Meanwhile the user may have been deactivated or the password changed, which ends the sessions that it finds.
    const locked = await lockUser(trx, known.userId);
    const current = await findPassword(trx, known.userId);
    if (locked.state !== "active" || current?.version !== known.version) throw userErrors.CREDENTIALS_INVALID();
    if (renewed !== undefined) await renewPassword(trx, known, renewed);
    await insertSession(trx, session, refresh.hash);
    announce.sessionsEnded(trx, await endOldestSessions(trx, known.userId, now));
    await refillBucket(trx, accountKey(email));
    return locked;
  });
  const claims = { userId: user.id, sessionId: session.id, permissions: permissionsOf(user.roles) };
  const access = await signAccessToken(signer, claims, now);
  return { user, tokens: { access, refreshToken: refresh.text, refreshExpiresAt: session.expires_at } };
}
