import { validator } from "../../platform/config.ts";

const CLIENT_AUTHS = ["client_secret_basic", "client_secret_post"] as const;

/** How the shop proves itself to a provider, in the words of OpenID Connect. */
export type ClientAuth = (typeof CLIENT_AUTHS)[number];

/** What the shop knows of an OpenID provider. */
export interface OpenIdSettings {
  readonly name: string;
  /** What people call it. */
  readonly label: string;
  readonly issuer: URL;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scopes: string;
  /** Undefined: the first of {@link CLIENT_AUTHS} that the provider knows. */
  readonly clientAuth: ClientAuth | undefined;
}

const KEYS = ["label", "issuer", "client_id", "client_secret", "scopes", "client_auth"];
const NAME = /^[a-z\d](?:[a-z\d-]{0,38}[a-z\d])?$/;
const DEFAULT_SCOPES = "openid email profile";

/**
 * `{"google":{"label":"Google","issuer":"https://accounts.google.com","client_id":"…","client_secret":"…"}}`.
 * @throws Error with all that is wrong, which quotes no value: some are secret
 */
export function parseOpenIdProviders(input: string): readonly OpenIdSettings[] {
  const providers = Object.entries(parseObject(input));
  const faults = providers.flatMap(([name, value]) => faultsOf(name, value));
  if (faults.length > 0) throw new Error(faults.join("; "));
  const settings = providers.map(([name, value]) => settingsOf(name, value as Record<string, string>));
  // An account is found by issuer and subject: two providers of one issuer would be one and the same.
  if (new Set(settings.map(({ issuer }) => issuer.href)).size < settings.length) {
    throw new Error("has two providers with one issuer");
  }
  return settings;
}

export const openIdProviders = validator<readonly OpenIdSettings[]>(parseOpenIdProviders);

/** The page that providers send browsers back to: exactly this address, without a query, which is theirs. */
export function parseRedirectUrl(input: string): string {
  const url = URL.parse(input);
  if (!url || !isSafe(url) || url.search !== "") {
    throw new Error("must be an https:// address without a user, a query or a #, or an http:// one of this machine");
  }
  return url.href;
}

export const openIdRedirectUrl = validator<string>(parseRedirectUrl);

function parseObject(input: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(input);
    if (isObject(value)) return value;
  } catch {
    // What JSON.parse says quotes the input.
  }
  throw new Error("must be a JSON object of providers by their names");
}

function faultsOf(name: string, value: unknown): string[] {
  // What does not look like a name may be a value that has slipped.
  if (!NAME.test(name)) return ["a provider's name must be up to 40 of a-z, 0-9 and -"];
  if (!isObject(value)) return [`${name} must be an object`];
  const { label, issuer, client_auth: auth, scopes } = value;
  const texts = ["client_id", "client_secret"].filter((key) => !isText(value[key]));
  const unknown = Object.keys(value).filter((key) => !KEYS.includes(key));
  const url = isText(issuer) ? URL.parse(issuer) : null;
  return [
    ...texts.map((key) => `${name}.${key} must be a text`),
    ...(unknown.length > 0 ? [`${name} has other keys than ${KEYS.join(", ")}`] : []),
    ...(url && isSafe(url) && url.search === ""
      ? []
      : [`${name}.issuer must be an https:// address, or an http:// one of this machine`]),
    ...(label === undefined || (isText(label) && label.length <= 60)
      ? []
      : [`${name}.label must be a text of up to 60 characters`]),
    ...(scopes === undefined || (isText(scopes) && scopes.split(" ").includes("openid"))
      ? []
      : [`${name}.scopes must be a text with openid in it`]),
    ...(auth === undefined || CLIENT_AUTHS.some((known) => known === auth)
      ? []
      : [`${name}.client_auth must be one of ${CLIENT_AUTHS.join(", ")}`]),
  ];
}

function settingsOf(name: string, value: Readonly<Record<string, string>>): OpenIdSettings {
  return {
    name,
    label: value["label"] ?? name,
    issuer: new URL(value["issuer"] ?? ""),
    clientId: value["client_id"] ?? "",
    clientSecret: value["client_secret"] ?? "",
    scopes: value["scopes"] ?? DEFAULT_SCOPES,
    clientAuth: value["client_auth"] as ClientAuth | undefined,
  };
}

/** Whether what goes there is for nobody else to read. */
function isSafe(url: URL): boolean {
  const isOpen = url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url));
  return isOpen && url.username === "" && url.password === "" && url.hash === "";
}

/** Whether an address is of this machine. */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
