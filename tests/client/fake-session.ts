/** The tokens, stores and answers that tests of a session are made of. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { OrderService } from "../../clients/ts/src/gen/commerce/order/v1/order_pb.ts";
import { AuthService } from "../../clients/ts/src/gen/commerce/user/v1/auth_pb.ts";
import type { Tokens } from "../../clients/ts/src/index.ts";
import type { Answer } from "./fake-shop.ts";
import { answer, refusal } from "./fake-shop.ts";

const { login, refresh } = AuthService.method;
const { createOrder } = OrderService.method;
/** As a login gives. */
export const TEN_MINUTES_MS = 600_000;

export const pair = (name: string, endsInMs = TEN_MINUTES_MS) => ({
  accessToken: `${name} access`,
  accessTokenExpiresAt: timestampFromMs(Date.now() + endsInMs),
  refreshToken: `${name} refresh`,
});
export const kept = (name: string, endsInMs = TEN_MINUTES_MS, of?: string): Tokens => ({
  ...pair(name),
  accessTokenExpiresAt: Date.now() + endsInMs,
  ...(of !== undefined && { login: of }),
});
export const past = () => kept("old", -1);
export const credentials = { email: "a@example.com", password: "p" };

/** Where the tokens of a test are kept, which may take its time. */
export function storeOf(tokens: Tokens | undefined, saving?: (next: Tokens | undefined) => Promise<void>) {
  const store = {
    kept: tokens,
    load: () => store.kept,
    async save(next: Tokens | undefined) {
      await saving?.(next);
      store.kept = next;
    },
  };
  return store;
}

/** Answers logins as of these people, one after the other, refreshes as told, and all else with nothing. */
export function answers(
  people: readonly string[],
  refreshed: Answer,
  other: Answer = () => answer(createOrder.output, {}),
) {
  const next = people.values();
  return ((call, count) => {
    if (call.method === "Login") return answer(login.output, pair(next.next().value ?? ""));
    return call.method === "Refresh" ? refreshed(call, count) : other(call, count);
  }) satisfies Answer;
}

export const fresh = (name: string, endsInMs?: number) => answer(refresh.output, pair(name, endsInMs));
export const refused = () => refusal(Code.Unauthenticated, "TOKEN_INVALID");
export const noRefresh = () => Promise.reject(new Error("nothing is to be refreshed"));
