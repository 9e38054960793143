import type { Configuration } from "openid-client";
import type { Clock } from "../../platform/clock.ts";
import { AppError, errors } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { within } from "../../platform/within.ts";
import { userErrors } from "./errors.ts";
import type { ProvenIdentity } from "./identity.ts";
import { shownName, verifiedEmail } from "./identity.ts";
import type { PendingLogin } from "./login-token.ts";
import { challengeOf } from "./login-token.ts";
import type { ClientAuth, OpenIdSettings } from "./openid-config.ts";
import { isLoopback } from "./openid-config.ts";

/** Seconds that a provider has for all that a call asks it. */
const PATIENCE_S = 5;
/** Milliseconds after which what a provider says of itself is read anew. */
const METADATA_MS = 3_600_000;
/** Milliseconds after which a call that the provider did not serve is worth another try. */
const RETRY_AFTER_MS = 1_000;
/** Characters of a subject, by OpenID Connect Core, 2. */
const SUBJECT_LENGTH = 255;

/** What the provider sent the browser back with; empty where there was none of it. */
export interface ProviderAnswer {
  readonly code: string;
  readonly state: string;
  readonly iss: string;
  readonly error: string;
}

/** Each function throws AppError PEER_DOWN where the provider does not answer in {@link PATIENCE_S} seconds. */
export interface OpenIdProvider {
  readonly name: string;
  readonly label: string;
  /** Where the browser goes to log in. */
  authorizationUrl(login: PendingLogin): Promise<string>;
  /** Exchanges the code of an answer. @throws AppError OPENID_LOGIN_INVALID */
  identify(login: PendingLogin, answer: ProviderAnswer): Promise<ProvenIdentity>;
}

export interface OpenIdProviderContext {
  /** The page that providers send browsers back to, once the ports are open. */
  readonly redirectUrl: () => string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A provider. Nothing is asked of it, and no code that talks to it is loaded, before the first login. */
export function openIdProvider(
  settings: OpenIdSettings,
  { clock, log, redirectUrl }: OpenIdProviderContext,
): OpenIdProvider {
  let known: { readonly client: Promise<Configuration>; readonly readAt: number } | undefined;

  /** Calls at the same time share one read; one that fails is not kept. */
  function client(): Promise<Configuration> {
    const now = clock.now().getTime();
    if (known && Math.abs(now - known.readAt) < METADATA_MS) return known.client;
    // Whatever it says of itself is no fault of a login.
    const found = discover(settings).catch((error: unknown) => {
      throw peerDown(settings.name, error);
    });
    const reading = { client: found, readAt: now };
    reading.client.catch(() => {
      if (known === reading) known = undefined;
    });
    return (known = reading).client;
  }

  /** What is asked together gets the time together. */
  async function inTime<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await within(PATIENCE_S * 1_000, work(), () => new Error("The provider does not answer in time."));
    } catch (error) {
      const told = isOfAnswer(error) ? userErrors.OPENID_LOGIN_INVALID() : peerDown(settings.name, error);
      if (told.kind !== "unavailable") log.info({ provider: settings.name, said: said(error) }, "a login was refused");
      throw told;
    }
  }

  return {
    name: settings.name,
    label: settings.label,

    authorizationUrl: (login) =>
      inTime(async () => {
        const { buildAuthorizationUrl } = await import("openid-client");
        return buildAuthorizationUrl(await client(), {
          redirect_uri: redirectUrl(),
          scope: settings.scopes,
          state: login.state,
          nonce: login.nonce,
          code_challenge: challengeOf(login),
          code_challenge_method: "S256",
        }).href;
      }),

    identify: (login, answer) =>
      inTime(async () => {
        const { authorizationCodeGrant, fetchUserInfo } = await import("openid-client");
        const configuration = await client();
        const checks = { pkceCodeVerifier: login.verifier, expectedState: login.state, expectedNonce: login.nonce };
        const tokens = await authorizationCodeGrant(configuration, addressOf(redirectUrl(), answer), checks);
        const proven = tokens.claims();
        if (!proven || proven.sub.length > SUBJECT_LENGTH || /\p{Cc}/u.test(proven.sub)) {
          throw userErrors.OPENID_LOGIN_INVALID();
        }
        // By OpenID Connect Core, 5.4, a provider may tell the email there alone.
        const isMore = proven["email"] === undefined && configuration.serverMetadata().userinfo_endpoint !== undefined;
        const claims = isMore ? await fetchUserInfo(configuration, tokens.access_token, proven.sub) : proven;
        return {
          provider: settings.name,
          issuer: proven.iss,
          subject: proven.sub,
          email: verifiedEmail(claims),
          name: shownName(claims),
        };
      }),
  };
}

/** Reads what the provider says of itself. */
async function discover({ issuer, clientId, clientSecret, clientAuth }: OpenIdSettings): Promise<Configuration> {
  const { ClientSecretBasic, ClientSecretPost, allowInsecureRequests, discovery, enableNonRepudiationChecks } =
    await import("openid-client");
  const auths = { client_secret_basic: ClientSecretBasic, client_secret_post: ClientSecretPost };
  const byMetadata: ReturnType<typeof ClientSecretBasic> = (server, ...rest) =>
    auths[clientAuth ?? authOf(server.token_endpoint_auth_methods_supported)](clientSecret)(server, ...rest);
  return discovery(issuer, clientId, undefined, byMetadata, {
    timeout: PATIENCE_S,
    // The signature is verified even though the token comes over TLS.
    execute: [enableNonRepudiationChecks, ...(isLoopback(issuer) ? [allowInsecureRequests] : [])],
  });
}

/** By OpenID Connect Discovery, 3, a provider that does not say knows the first. */
function authOf(known: readonly string[] | undefined): ClientAuth {
  const isPostAlone = known?.includes("client_secret_post") && !known.includes("client_secret_basic");
  return isPostAlone ? "client_secret_post" : "client_secret_basic";
}

/** The address that the browser came back to, as it was there. */
function addressOf(redirectUrl: string, answer: ProviderAnswer): URL {
  const url = new URL(redirectUrl);
  for (const name of ["code", "state", "iss", "error"] as const) {
    if (answer[name] !== "") url.searchParams.set(name, answer[name]);
  }
  return url;
}

/** Codes of openid-client that say that the provider is not there, or not well. */
const DOWN = new Set(["OAUTH_TIMEOUT", "OAUTH_ABORT", "OAUTH_RESPONSE_IS_NOT_CONFORM", "OAUTH_RESPONSE_IS_NOT_JSON"]);
/** Errors of a token endpoint that are about the code, and not about the shop or the provider. */
const ABOUT_THE_CODE = new Set(["invalid_grant", "access_denied"]);

/** Whether the answer of the provider is at fault: an error, or a code, state, issuer or ID token that is no good. */
function isOfAnswer(error: unknown): boolean {
  if (error instanceof AppError) return error.kind === "unauthenticated";
  const {
    name,
    code,
    error: told,
  } = error as { readonly name?: string; readonly code?: string; readonly error?: string };
  if (name === "ResponseBodyError") return ABOUT_THE_CODE.has(told ?? "");
  return name === "AuthorizationResponseError" || (name === "ClientError" && !DOWN.has(code ?? ""));
}

function peerDown(provider: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  return errors.PEER_DOWN({
    retryAfterMs: RETRY_AFTER_MS,
    metadata: { peer: provider },
    cause: new Error(said(error)),
  });
}

/** What an error says, in words alone: what hangs on those of openid-client are codes, tokens and what is in them. */
function said(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { error: told } = error as { readonly error?: unknown };
  const about = typeof told === "string" ? `${error.message} (${told})` : error.message;
  return error.cause instanceof Error ? `${about}: ${said(error.cause)}` : about;
}
