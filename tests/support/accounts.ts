import type { Interceptor } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { Client } from "pg";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { SAMPLE_PASSWORD } from "../../src/roles/user/sample-accounts.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";

/** Milliseconds after which a token is got anew; it lives for ten minutes. */
const FRESH_MS = 300_000;

export interface Account {
  readonly email: string;
  readonly password: string;
}

/** Who the tests are unless they say otherwise. */
export const admin: Account = { email: "admin@tests.example", password: "a password of the tests" };

/** The admin of a shop that is tried out. */
export const sampleAdmin: Account = { email: "admin@example.com", password: SAMPLE_PASSWORD };

const tokens = new Map<string, { readonly token: Promise<string>; readonly until: number }>();

/** A token of an account of the shop at this address, got when first needed. */
export function tokenOf(url: string, { email, password }: Account = admin): Promise<string> {
  const key = `${url} ${email}`;
  const known = tokens.get(key);
  if (known && known.until > Date.now()) return known.token;
  const token = createClient(AuthService, createConnectTransport({ baseUrl: url, httpVersion: "2" }))
    .login({ email, password })
    .then(({ accessToken }) => accessToken);
  tokens.set(key, { token, until: Date.now() + FRESH_MS });
  token.catch(() => tokens.delete(key));
  return token;
}

/** Sends the token of an account with each call. */
export function as(url: string, account: Account = admin): Interceptor {
  return (next) => async (request) => {
    request.header.set("authorization", `Bearer ${await tokenOf(url, account)}`);
    return next(request);
  };
}

/** Makes an account at a running shop; with roles by its database, as `npm run grant` does. */
export async function createAccount(
  url: string,
  { email, password }: Account,
  database: string,
  roles: readonly string[] = [],
): Promise<string> {
  const users = createClient(UserService, createConnectTransport({ baseUrl: url, httpVersion: "2" }));
  const { user } = await users.createUser({ email, password });
  if (roles.length > 0) {
    const client = new Client({ connectionString: database });
    await client.connect();
    await client.query("update users set roles = $2 where email = $1", [email, roles]);
    await client.end();
  }
  return user?.id ?? "";
}
