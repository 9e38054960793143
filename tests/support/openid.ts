import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { CryptoKey, JWTPayload } from "jose";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

/** Where the providers of the tests send browsers back to; nothing is there. */
export const REDIRECT_URL = "https://shop.test/logged-in";

/** What a client of a provider is configured with. */
export const CLIENT = { client_id: "the-shop", client_secret: "a client secret of the tests" };

/** What a provider says of somebody. */
export type Person = Readonly<Record<string, unknown>>;

export interface RunningProvider extends AsyncDisposable {
  readonly issuer: string;
}

export interface RealProvider extends RunningProvider {
  /** Who may log in there, by subject. */
  readonly people: Map<string, Person>;
  /** What a browser comes back with that was sent there, once somebody has logged in, or has declined. */
  visit(authorizationUrl: string, subject: string | undefined): Promise<Answer>;
}

/** What a browser comes back with. */
export interface Answer {
  readonly code: string;
  readonly state: string;
  readonly iss: string;
  readonly error: string;
}

/** An OpenID provider of the npm package oidc-provider on loopback, which tells emails in the userinfo alone. */
export async function startRealProvider(): Promise<RealProvider> {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  const people = new Map<string, Person>();
  const { server, issuer } = await listening();
  const provider = new Provider(issuer, {
    clients: [{ ...CLIENT, redirect_uris: [REDIRECT_URL], token_endpoint_auth_method: "client_secret_basic" }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    conformIdTokenClaims: true,
    cookies: { keys: ["a cookie key of the tests"] },
    jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: "RS256", use: "sig", kid: "first" }] },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
    pkce: { required: () => true },
    findAccount: (_context, sub) => {
      const person = people.get(sub);
      return person && { accountId: sub, claims: () => ({ ...person, sub }) };
    },
  });
  server.on("request", provider.callback());
  return {
    issuer,
    people,
    visit: (url, subject) => visit(new URL(url), subject),
    [Symbol.asyncDispose]: () => closed(server),
  };
}

/** Does what somebody does in a browser: follows redirects, logs in, agrees; or declines. */
async function visit(start: URL, subject: string | undefined): Promise<Answer> {
  const cookies = new Map<string, string>();
  let url = start;
  let form: URLSearchParams | undefined;
  for (let step = 0; step < 20; step += 1) {
    const answer = await fetch(url, {
      redirect: "manual",
      headers: { cookie: [...cookies].map((pair) => pair.join("=")).join("; ") },
      ...(form && { method: "POST", body: form }),
    });
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      cookies.set(name, value);
    }
    form = undefined;
    const page = await answer.text();
    const location = answer.headers.get("location");
    if (location !== null) {
      url = new URL(location, url);
      if (url.href.startsWith(`${REDIRECT_URL}?`)) return answerOf(url.searchParams);
      continue;
    }
    const [, prompt] = /name="prompt" value="(\w+)"/.exec(page) ?? [];
    if (prompt === undefined) throw new Error(`The provider answered ${String(answer.status)}: ${page}`);
    if (subject === undefined) url = new URL(`${url.href}/abort`);
    else form = new URLSearchParams({ prompt, login: subject, password: "any" });
  }
  throw new Error("The provider sent the browser round in circles.");
}

function answerOf(query: URLSearchParams): Answer {
  const value = (name: string) => query.get(name) ?? "";
  return { code: value("code"), state: value("state"), iss: value("iss"), error: value("error") };
}

/** How a forged provider makes an ID token. */
export interface IdTokenMaker {
  readonly claims: JWTPayload;
  readonly sign: (claims: JWTPayload, key?: CryptoKey) => Promise<string>;
}

export interface ForgedProvider extends RunningProvider {
  /** What it says of whoever logs in. */
  person: Person & { readonly sub: string };
  /** Makes the next ID tokens, in place of good ones. */
  idToken: ((maker: IdTokenMaker) => Promise<string> | string) | undefined;
  /** Answers the next requests at this path, in place of itself. */
  answer: { readonly path: string; readonly status: number; readonly body: unknown } | undefined;
  /** Milliseconds that it takes for each answer. */
  slowness: number;
  /** The bodies of requests at the token endpoint. */
  readonly exchanges: URLSearchParams[];
  /** What a browser comes back with; nobody is asked for anything. */
  visit(authorizationUrl: string): Answer;
}

/** An OpenID provider that says whatever a test has it say, on loopback. It knows one login at a time. */
export async function startForgedProvider(): Promise<ForgedProvider> {
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const { server, issuer } = await listening();
  let nonce = "";
  const forged: ForgedProvider = {
    issuer,
    person: { sub: "somebody", email: "somebody@forged.example", email_verified: true },
    idToken: undefined,
    answer: undefined,
    slowness: 0,
    exchanges: [],
    visit(authorizationUrl) {
      const { searchParams } = new URL(authorizationUrl);
      nonce = searchParams.get("nonce") ?? "";
      return { code: "a code", state: searchParams.get("state") ?? "", iss: "", error: "" };
    },
    [Symbol.asyncDispose]: () => closed(server),
  };

  const sign = (claims: JWTPayload, key = privateKey) =>
    new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "first" }).sign(key);
  async function tokens() {
    const now = Math.floor(Date.now() / 1_000);
    const claims = { iss: issuer, aud: CLIENT.client_id, iat: now, exp: now + 600, nonce, ...forged.person };
    const idToken = await (forged.idToken?.({ claims, sign }) ?? sign(claims));
    return { access_token: "an access token", token_type: "Bearer", ...(idToken !== "" && { id_token: idToken }) };
  }
  const pages: Readonly<Record<string, () => unknown>> = {
    "/.well-known/openid-configuration": () => ({
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/keys`,
      token_endpoint_auth_methods_supported: ["client_secret_post"],
      id_token_signing_alg_values_supported: ["RS256", "HS256", "none"],
    }),
    "/keys": async () => ({ keys: [{ ...(await exportJWK(publicKey)), alg: "RS256", use: "sig", kid: "first" }] }),
    "/token": tokens,
  };

  const serve: RequestListener = (request, response) => {
    void (async () => {
      const path = request.url ?? "";
      let body = "";
      for await (const chunk of request) body += String(chunk);
      if (path === "/token") forged.exchanges.push(new URLSearchParams(body));
      const instead = forged.answer?.path === path ? forged.answer : undefined;
      if (forged.slowness > 0) await delay(forged.slowness);
      const content = instead ? instead.body : await pages[path]?.();
      response.writeHead(instead?.status ?? 200, { "content-type": "application/json" });
      response.end(JSON.stringify(content));
    })();
  };
  server.on("request", serve);
  return forged;
}

async function listening(): Promise<{ readonly server: Server; readonly issuer: string }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, issuer: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}` };
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });
}
