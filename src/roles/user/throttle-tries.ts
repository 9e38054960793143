import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { errors } from "../../platform/errors.ts";
import type { UserTables } from "./schema.ts";
import { takeAttempt } from "./store-throttle.ts";
import type { Limit } from "./throttle.ts";
import {
  ACCOUNT_LIMIT,
  ADDRESS_LIMIT,
  RESET_ADDRESS_LIMIT,
  RESET_LIMIT,
  accountKey,
  addressKey,
  resetAddressKey,
  resetKey,
  waitOf,
} from "./throttle.ts";

/**
 * Counts a try against a limit, in all processes together.
 * @throws AppError RATE_LIMITED where there is none left
 */
export async function countTry(db: Kysely<UserTables>, key: Buffer, limit: Limit, now: Date): Promise<void> {
  const fullAt = await takeAttempt(db, key, limit, now);
  if (fullAt === undefined) return;
  const { subject, description } = limit;
  throw errors.RATE_LIMITED({ retryAfterMs: waitOf(limit, fullAt, now), quota: { subject, description } });
}

/**
 * Counts a login, before anything else is looked at: an account that does not exist is limited like one that does.
 * @param address of the client; undefined where it is not known
 * @throws AppError RATE_LIMITED
 */
export async function countLogin(
  db: Kysely<UserTables>,
  email: string,
  address: string | undefined,
  clock: Clock,
): Promise<void> {
  if (address !== undefined) await countTry(db, addressKey(address), ADDRESS_LIMIT, clock.now());
  await countTry(db, accountKey(email), ACCOUNT_LIMIT, clock.now());
}

/**
 * Counts a request for a new password, of an account that does not exist like of one that does.
 * @param address of the client; undefined where it is not known
 * @throws AppError RATE_LIMITED
 */
export async function countResetRequest(
  db: Kysely<UserTables>,
  email: string,
  address: string | undefined,
  clock: Clock,
): Promise<void> {
  if (address !== undefined) await countTry(db, resetAddressKey(address), RESET_ADDRESS_LIMIT, clock.now());
  await countTry(db, resetKey(email), RESET_LIMIT, clock.now());
}
