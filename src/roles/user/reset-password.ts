import type { Transaction } from "kysely";
import { transaction } from "../../platform/database.ts";
import { userErrors } from "./errors.ts";
import type { UserAnnouncements } from "./events.ts";
import type { AuthContext } from "./log-in.ts";
import type { MailToken, MailTokenPurpose } from "./mail-token.ts";
import { isMailToken, issueMailToken, userOfMailToken } from "./mail-token.ts";
import type { UserTables } from "./schema.ts";
import { findPassword, insertPassword, updatePassword } from "./store-credentials.ts";
import { deleteOtherIdentities } from "./store-identities.ts";
import { endSessions } from "./store-sessions.ts";
import { refillBucket } from "./store-throttle.ts";
import type { UserRow } from "./store.ts";
import { confirmUserEmail, findUser, getUser, lockUser } from "./store.ts";
import { accountKey } from "./throttle.ts";

export interface MailTokenContext extends Pick<AuthContext, "db" | "clock" | "passwords"> {
  /** 32 bytes that the tokens of mails are made with. */
  readonly mailSecret: Buffer;
  readonly announce: UserAnnouncements;
}

/** The user of a mail, and the token of its link. @throws AppError NOT_FOUND */
export async function addressMail(
  { db, clock, mailSecret }: MailTokenContext,
  userId: string,
  purpose: MailTokenPurpose | undefined,
): Promise<{ readonly user: UserRow; readonly link: MailToken | undefined }> {
  const user = await getUser(db, userId);
  if (purpose === undefined || user.state !== "active") return { user, link: undefined };
  const passwordVersion = (await findPassword(db, userId))?.version ?? 0;
  return {
    user,
    link: issueMailToken(mailSecret, purpose, { userId, email: user.email, passwordVersion }, clock.now()),
  };
}

/**
 * Sets the password of the user who has the mail. All sessions end, logins at providers go that are of another email,
 * and the email is confirmed: the mail has arrived.
 * @throws AppError LINK_INVALID, OVERLOADED
 */
export async function resetPassword(
  context: MailTokenContext,
  token: string,
  password: string,
  signal: AbortSignal,
): Promise<void> {
  const { db, clock, passwords, announce } = context;
  const userId = userOfMailToken(token);
  // Before the hash, which is dear; and once more after it, as all may be different then.
  const found = userId === undefined ? undefined : await findUser(db, userId);
  if (!found) throw userErrors.LINK_INVALID();
  await checkToken(context, db, token, "password reset", found);
  const hash = await passwords.hash(password, signal);
  await transaction(db, async (trx) => {
    const now = clock.now();
    const user = await lockUser(trx, found.id);
    await checkToken(context, trx, token, "password reset", user);
    const known = await findPassword(trx, user.id);
    if (!known) await insertPassword(trx, user.id, hash, now);
    else if (!(await updatePassword(trx, known, hash, now))) throw userErrors.LINK_INVALID();
    // Somebody who had the account before the owner of the mail may have left a login of their own.
    await deleteOtherIdentities(trx, user.id, user.email);
    await refillBucket(trx, accountKey(user.email));
    await announce.wished(trx, "passwordChanged", user.id, now);
    await confirm(context, trx, user, now);
    // Its lock is the last one of a transaction: all who end sessions wait for it.
    announce.sessionsEnded(trx, await endSessions(trx, { userId: user.id }, now));
  });
}

/** @throws AppError LINK_INVALID */
export async function confirmEmail(context: MailTokenContext, token: string): Promise<void> {
  const userId = userOfMailToken(token);
  if (userId === undefined) throw userErrors.LINK_INVALID();
  await transaction(context.db, async (trx) => {
    const found = await findUser(trx, userId);
    if (!found) throw userErrors.LINK_INVALID();
    const user = await lockUser(trx, userId);
    await checkToken(context, trx, token, "email confirmation", user);
    await confirm(context, trx, user, context.clock.now());
  });
}

/** Has the mail sent once more that confirms the email, where it is not confirmed. @throws AppError NOT_FOUND */
export async function requestConfirmation({ db, clock, announce }: MailTokenContext, userId: string): Promise<void> {
  await transaction(db, async (trx) => {
    const user = await lockUser(trx, userId);
    if (!user.email_confirmed_at) await announce.wished(trx, "emailConfirmationRequested", userId, clock.now());
  });
}

async function confirm(
  { announce }: MailTokenContext,
  trx: Transaction<UserTables>,
  user: UserRow,
  now: Date,
): Promise<void> {
  if (user.email_confirmed_at) return;
  await announce.changed(trx, "emailConfirmed", await confirmUserEmail(trx, user.id, now));
}

/** @throws AppError LINK_INVALID */
async function checkToken(
  { clock, mailSecret }: MailTokenContext,
  db: MailTokenContext["db"],
  token: string,
  purpose: MailTokenPurpose,
  user: UserRow,
): Promise<void> {
  const passwordVersion = (await findPassword(db, user.id))?.version ?? 0;
  const state = { userId: user.id, email: user.email, passwordVersion };
  const isGood = user.state === "active" && isMailToken(mailSecret, token, purpose, state, clock.now());
  if (!isGood) throw userErrors.LINK_INVALID();
}
