import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { AppError, invalidRequest } from "../../platform/errors.ts";
import { userErrors } from "./errors.ts";
import type { ProvenIdentity } from "./identity.ts";
import type { PendingLogin } from "./login-token.ts";
import { issueLoginToken, newLogin, openLoginToken } from "./login-token.ts";
import type { OpenIdProvider, ProviderAnswer } from "./openid-provider.ts";
import type { UserTables } from "./schema.ts";
import { returnLoginToken, takeLoginToken } from "./store-identities.ts";

export interface OpenIdContext {
  readonly db: Kysely<UserTables>;
  readonly clock: Clock;
  /** By name. */
  readonly providers: ReadonlyMap<string, OpenIdProvider>;
  /** 32 bytes that login tokens are sealed with. */
  readonly loginSecret: Buffer;
}

/** What a browser came back with. */
export interface LoginAnswer extends ProviderAnswer {
  readonly loginToken: string;
}

/**
 * Begins a login at a provider.
 * @throws AppError INVALID_REQUEST of a provider that there is not, PEER_DOWN
 */
export async function startOpenIdLogin(
  { clock, providers, loginSecret }: OpenIdContext,
  given: Pick<PendingLogin, "provider" | "returnTo" | "userId">,
): Promise<{ readonly authorizationUrl: string; readonly loginToken: string }> {
  const provider = providers.get(given.provider);
  if (!provider) throw invalidRequest({ field: "provider", description: "is none of ListLoginProviders" });
  const login = newLogin(given);
  const authorizationUrl = await provider.authorizationUrl(login);
  return { authorizationUrl, loginToken: issueLoginToken(loginSecret, login, clock.now()) };
}

/**
 * Who somebody is, by the answer to a login that this browser began. The login token serves once, unless the provider
 * did not answer.
 * @param userId who adds the login to their account; undefined: somebody logs in. A login that began as the one does not
 *   end as the other.
 * @throws AppError OPENID_LOGIN_INVALID, PEER_DOWN
 */
export async function proveIdentity(
  { db, clock, providers, loginSecret }: OpenIdContext,
  answer: LoginAnswer,
  userId: string | undefined,
): Promise<{ readonly identity: ProvenIdentity; readonly login: PendingLogin }> {
  const opened = openLoginToken(loginSecret, answer.loginToken, clock.now());
  const provider = opened && providers.get(opened.login.provider);
  if (!provider || opened.login.userId !== userId) throw userErrors.OPENID_LOGIN_INVALID();
  const { login, hash, expiresAt } = opened;
  // Before the provider is asked: of calls at once one goes on.
  if (!(await takeLoginToken(db, hash, expiresAt))) throw userErrors.OPENID_LOGIN_INVALID();
  try {
    return { identity: await provider.identify(login, answer), login };
  } catch (error) {
    if (error instanceof AppError && error.kind === "unavailable") await returnLoginToken(db, hash);
    throw error;
  }
}
