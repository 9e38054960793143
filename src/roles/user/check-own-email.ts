import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { userErrors } from "./errors.ts";
import type { Passwords } from "./password-hashing.ts";
import type { UserTables } from "./schema.ts";
import { findPassword } from "./store-credentials.ts";
import { listIdentities } from "./store-identities.ts";
import { findUser } from "./store.ts";
import { EMAIL_LIMIT, emailKey } from "./throttle.ts";
import { countTry } from "./throttle-tries.ts";

export interface OwnEmailContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  readonly passwords: Passwords;
}

/**
 * Asks for the password before users change their own email: with the email goes the account, by a mail for a new
 * password, so a stolen session must not be enough; who has but a login at a provider sets one by mail first. Each
 * change also mails somebody, so they are limited. One that changes nothing passes.
 * @throws AppError CREDENTIALS_INVALID, RATE_LIMITED, OVERLOADED
 */
export async function checkOwnEmail(
  { db, clock, passwords }: OwnEmailContext,
  userId: string,
  email: string | undefined,
  currentPassword: string,
  signal: AbortSignal,
): Promise<void> {
  const user = email === undefined ? undefined : await findUser(db, userId);
  if (!user || user.email.toLowerCase() === email?.toLowerCase()) return;
  await countTry(db, emailKey(userId), EMAIL_LIMIT, clock.now());
  const known = await findPassword(db, userId);
  if (!known && (await listIdentities(db, userId)).length === 0) return;
  const isRight = await passwords.verify(currentPassword, known?.hash, signal);
  if (!known || !isRight) throw userErrors.CREDENTIALS_INVALID();
}
