import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { errors } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { signAccessToken } from "./access-token.ts";
import type { SessionContext, Tokens } from "./open-session.ts";
import { permissionsOf } from "./permission.ts";
import { parseRefreshToken, successorOf } from "./refresh-token.ts";
import type { RefreshToken } from "./refresh-token.ts";
import type { UserTables } from "./schema.ts";
import type { Verdict } from "./session.ts";
import { judge, sessionExpiry } from "./session.ts";
import type { SessionRow } from "./store-sessions.ts";
import { endSessions, exchangeRefreshToken, findRefreshToken, lockSessionOf } from "./store-sessions.ts";
import type { UserRow } from "./store.ts";
import { getUser } from "./store.ts";

/** What became of a refresh token. */
type Judged =
  | {
      readonly verdict: "exchange" | "repeat";
      readonly session: SessionRow;
      readonly user: UserRow;
      readonly now: Date;
    }
  | { readonly verdict: Exclude<Verdict, "exchange" | "repeat">; readonly session?: SessionRow };

/**
 * Exchanges a refresh token for the next pair. One that was used before ends its session, except in the ten seconds in
 * which a lost answer is given again.
 * @throws AppError TOKEN_INVALID, TOKEN_EXPIRED
 */
export async function refreshSession(context: SessionContext, text: string, log: Logger): Promise<Tokens> {
  const { db, clock, signingKeys, refreshSecret, announce } = context;
  const token = parseRefreshToken(text);
  if (!token) throw errors.TOKEN_INVALID();
  const successor = successorOf(token, refreshSecret);
  const signer = await signingKeys.signer();
  const judged = await transaction(db, async (trx) => {
    const outcome = await exchange(trx, token, successor, clock.now());
    if (outcome.verdict === "reused" && outcome.session) announce.sessionsEnded(trx, [outcome.session.id]);
    return outcome;
  });
  switch (judged.verdict) {
    case "expired":
      throw errors.TOKEN_EXPIRED({ message: "The session's time is over; log in again." });
    case "reused":
      log.warn({ session: judged.session?.id, user: judged.session?.user_id }, "refresh token reused");
      throw errors.TOKEN_INVALID();
    case "invalid":
      throw errors.TOKEN_INVALID();
    default: {
      const { session, user, now } = judged;
      const claims = { userId: user.id, sessionId: session.id, permissions: permissionsOf(user.roles) };
      const access = await signAccessToken(signer, claims, now);
      return { access, refreshToken: successor.text, refreshExpiresAt: session.expires_at };
    }
  }
}

/** Decides under the lock of the session: of calls at once the first exchanges, and the others see that. */
async function exchange(
  trx: Transaction<UserTables>,
  token: RefreshToken,
  successor: RefreshToken,
  now: Date,
): Promise<Judged> {
  const session = await lockSessionOf(trx, token.hash);
  const known = session && (await findRefreshToken(trx, token.hash));
  if (!known) return { verdict: "invalid" };
  const next = await findRefreshToken(trx, successor.hash);
  const presented = {
    sessionEndedAt: session.ended_at,
    sessionExpiresAt: session.expires_at,
    usedAt: known.used_at,
    successorIsLive: next !== undefined && next.used_at === null,
  };
  const verdict = judge(presented, now);
  if (verdict === "reused") await endSessions(trx, { userId: session.user_id, only: session.id }, now);
  if (verdict !== "exchange" && verdict !== "repeat") return { verdict, session };

  // Who takes roles away or deactivates ends the sessions too: that waits for the lock of this one, or came before it.
  const user = await getUser(trx, session.user_id);
  if (user.state !== "active") return { verdict: "invalid" };
  if (verdict === "repeat") return { verdict, session, user, now };
  const expiresAt = sessionExpiry(now);
  await exchangeRefreshToken(trx, known, successor.hash, now, expiresAt);
  return { verdict, session: { ...session, expires_at: expiresAt }, user, now };
}
