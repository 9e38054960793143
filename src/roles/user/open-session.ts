import type { Kysely, Transaction } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { transaction } from "../../platform/database.ts";
import { newId } from "../../platform/id.ts";
import type { AccessToken } from "./access-token.ts";
import { signAccessToken } from "./access-token.ts";
import type { UserAnnouncements } from "./events.ts";
import type { SigningKeyRing } from "./keep-signing-keys.ts";
import { permissionsOf } from "./permission.ts";
import { newRefreshToken } from "./refresh-token.ts";
import type { UserTables } from "./schema.ts";
import { clientName, sessionExpiry } from "./session.ts";
import { endOldestSessions, insertSession } from "./store-sessions.ts";
import type { UserRow } from "./store.ts";

export interface SessionContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
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

export interface LoggedIn {
  readonly user: UserRow;
  readonly tokens: Tokens;
}

/**
 * Opens a session of the user whom `admit` answers, in its transaction.
 * @param agent what the client calls itself
 * @param admit locks the user, and throws where no session is to be
 */
export async function openSession(
  { db, clock, signingKeys, announce }: SessionContext,
  agent: string | undefined,
  admit: (trx: Transaction<UserTables>) => Promise<UserRow>,
): Promise<LoggedIn> {
  // Before the session: what fails here has had no effect.
  const signer = await signingKeys.signer();
  const now = clock.now();
  const refresh = newRefreshToken();
  const sessionId = newId();
  const refreshExpiresAt = sessionExpiry(now);
  const user = await transaction(db, async (trx) => {
    const admitted = await admit(trx);
    const session = {
      id: sessionId,
      user_id: admitted.id,
      client: clientName(agent),
      created_at: now,
      last_used_at: now,
      expires_at: refreshExpiresAt,
      ended_at: null,
    };
    await insertSession(trx, session, refresh.hash);
    announce.sessionsEnded(trx, await endOldestSessions(trx, admitted.id, now));
    return admitted;
  });
  const access = await signAccessToken(
    signer,
    { userId: user.id, sessionId, permissions: permissionsOf(user.roles) },
    now,
  );
  return { user, tokens: { access, refreshToken: refresh.text, refreshExpiresAt } };
}
