/** Milliseconds after its last use at which a session ends: 30 days. */
export const SESSION_MS = 30 * 24 * 3_600_000;

/** Milliseconds after the exchange of a refresh token in which the lost answer is given again. */
export const RETRY_MS = 10_000;

/** Open sessions of one user; the next login ends the oldest. */
export const MOST_SESSIONS = 100;

/** Characters of what a client calls itself. */
const CLIENT_LENGTH = 200;

/** What is known of a presented refresh token. Read under the lock of the session. */
export interface Presented {
  readonly sessionEndedAt: Date | null;
  readonly sessionExpiresAt: Date;
  /** When the token was exchanged; null where it is the live one. */
  readonly usedAt: Date | null;
  /** Whether the token that followed on it is the live one. */
  readonly successorIsLive: boolean;
}

/**
 * What to do with a presented refresh token: exchange it; give the same successor again; say that it is no good; or
 * end the session, because somebody uses a token that another has used before.
 */
export type Verdict = "exchange" | "repeat" | "invalid" | "expired" | "reused";

/** Decides on a presented refresh token. */
export function judge(token: Presented, now: Date): Verdict {
  if (token.sessionEndedAt !== null) return "invalid";
  if (token.usedAt === null) return token.sessionExpiresAt <= now ? "expired" : "exchange";
  const lately = now.getTime() - token.usedAt.getTime() <= RETRY_MS;
  return lately && token.successorIsLive ? "repeat" : "reused";
}

/** When a session ends that was used now. */
export function sessionExpiry(now: Date): Date {
  return new Date(now.getTime() + SESSION_MS);
}

/** What a client calls itself, as it is kept: printable, not too long. */
export function clientName(agent: string | undefined): string {
  return (agent ?? "").replace(/[^\x20-\x7e]/g, "").slice(0, CLIENT_LENGTH);
}
