import type { Interceptor, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { SAMPLE_ACCOUNTS } from "../roles/user/sample-accounts.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";

/** The email of a sample account by its short name: admin, shopper. */
export function sampleEmail(name: string): string | undefined {
  return SAMPLE_ACCOUNTS.find(({ email }) => email.startsWith(`${name}@`))?.email;
}

/** The access token of an account. @throws ConnectError CREDENTIALS_INVALID, RATE_LIMITED */
export async function login(transport: Transport, email: string, password: string): Promise<string> {
  return (await createClient(AuthService, transport).login({ email, password })).accessToken;
}

/** Sends a token with each call. */
export function bearer(token: () => string | Promise<string>): Interceptor {
  return (next) => async (request) => {
    request.header.set("authorization", `Bearer ${await token()}`);
    return next(request);
  };
}
