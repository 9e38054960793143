import { createTurns } from "../../platform/turns.ts";
import { hashPassword, isOutdated, nobodysPassword, verifyPassword } from "./password.ts";

/** Hashes at work at once: each takes 19 MiB and a thread. */
const AT_ONCE = 2;
/** Hashes that wait for their turn, about half a second of work. */
const MOST_WAITING = 50;

/**
 * Hashes passwords, a few at a time. Each function throws AppError OVERLOADED where too many wait already, and the
 * reason of the signal where it aborts before the turn comes.
 */
export interface Passwords {
  hash(password: string, signal?: AbortSignal): Promise<string>;
  /**
   * Whether the password is that of the stored hash. Without one the answer is no, after the time that it takes with
   * one.
   */
  verify(password: string, stored: string | undefined, signal?: AbortSignal): Promise<boolean>;
  /** The hash to store in place of one with another cost than today's; undefined where it is fine. */
  renew(password: string, stored: string, signal?: AbortSignal): Promise<string | undefined>;
}

export function createPasswords(atOnce = AT_ONCE, mostWaiting = MOST_WAITING): Passwords {
  const inTurn = createTurns(atOnce, mostWaiting);
  const nobodys = nobodysPassword();
  return {
    hash: (password, signal) => inTurn(signal, () => hashPassword(password)),
    verify: (password, stored, signal) => inTurn(signal, () => verifyPassword(password, stored ?? nobodys)),
    renew: async (password, stored, signal) =>
      isOutdated(stored) ? inTurn(signal, () => hashPassword(password)) : undefined,
  };
}
