import type { Transaction } from "kysely";
import { AppError } from "../../platform/errors.ts";
import { newId } from "../../platform/id.ts";
import { userErrors } from "./errors.ts";
import type { ProvenIdentity } from "./identity.ts";
import type { LoggedIn, SessionContext } from "./open-session.ts";
import { openSession } from "./open-session.ts";
import type { LoginAnswer, OpenIdContext } from "./prove-identity.ts";
import { proveIdentity } from "./prove-identity.ts";
import type { UserTables } from "./schema.ts";
import { findIdentity, insertIdentity, lockIdentity } from "./store-identities.ts";
import type { UserRow } from "./store.ts";
import { insertUser, lockUser } from "./store.ts";
import { ADDRESS_LIMIT, addressKey } from "./throttle.ts";
import { countTry } from "./throttle-tries.ts";
import { displayNameOf } from "./user.ts";

export interface OpenIdLoginContext extends OpenIdContext, SessionContext {}

export interface OpenIdAttempt extends LoginAnswer {
  /** Of the client; undefined where it is not known. */
  readonly address: string | undefined;
  /** What the client calls itself. */
  readonly agent: string | undefined;
}

/**
 * Opens a session of who somebody is at a provider, with an account that is made at the first time.
 * @throws AppError RATE_LIMITED, PEER_DOWN, LOGIN_LINK_REQUIRED, EMAIL_UNVERIFIED; OPENID_LOGIN_INVALID for whatever
 *   else is wrong
 */
export async function finishOpenIdLogin(
  context: OpenIdLoginContext,
  { address, agent, ...answer }: OpenIdAttempt,
): Promise<LoggedIn & { readonly returnTo: string }> {
  const { db, clock } = context;
  if (address !== undefined) await countTry(db, addressKey(address), ADDRESS_LIMIT, clock.now());
  const { identity, login } = await proveIdentity(context, answer, undefined);
  const loggedIn = await openSession(context, agent, async (trx) => {
    const user = (await userOf(trx, identity)) ?? (await createAccount(context, trx, identity));
    if (user.state !== "active") throw userErrors.OPENID_LOGIN_INVALID();
    return user;
  });
  return { ...loggedIn, returnTo: login.returnTo };
}

/** Locks the user whom an identity opens; undefined where it opens none. */
async function userOf(trx: Transaction<UserTables>, identity: ProvenIdentity): Promise<UserRow | undefined> {
  const known = await findIdentity(trx, identity);
  if (!known) return undefined;
  const user = await lockUser(trx, known.user_id);
  // Meanwhile it may have been unlinked.
  if ((await findIdentity(trx, identity))?.user_id !== user.id) throw userErrors.OPENID_LOGIN_INVALID();
  return user;
}

/**
 * Makes an account without a password. Its email is confirmed: the provider vouches for it. One that somebody has is
 * not linked silently, for that may be somebody who took the email before its owner came.
 */
async function createAccount(
  { clock, announce }: OpenIdLoginContext,
  trx: Transaction<UserTables>,
  { email, name, ...identity }: ProvenIdentity,
): Promise<UserRow> {
  // Of two first logins at once the second finds the account of the first.
  await lockIdentity(trx, identity);
  const made = await userOf(trx, { ...identity, email, name });
  if (made) return made;
  if (email === undefined) throw userErrors.EMAIL_UNVERIFIED();
  const now = clock.now();
  const user = await insertUser(trx, {
    id: newId(),
    email,
    display_name: name || displayNameOf(email),
    state: "active",
    roles: [],
    version: 1,
    locale: "",
    email_confirmed_at: now,
    created_at: now,
    updated_at: now,
  }).catch(asLinkRequired);
  await insertIdentity(trx, { id: newId(), user_id: user.id, ...identity, email, created_at: now });
  await announce.changed(trx, "created", user);
  return user;
}

function asLinkRequired(error: unknown): never {
  const isTaken = error instanceof AppError && error.reason === "EMAIL_TAKEN";
  throw isTaken ? userErrors.LOGIN_LINK_REQUIRED({ cause: error }) : error;
}
