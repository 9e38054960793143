/** Shops that answer as a test says, without a network, and what their clients asked. */
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../../clients/ts/src/gen/google/rpc/error_details_pb.ts";
import type { Shop, ShopOptions } from "../../clients/ts/src/index.ts";
import { createShop } from "../../clients/ts/src/index.ts";

/** A refusal as the shop sends it. */
export function refusal(code: Code, reason: string, retryMs?: number): Response {
  const retry = { desc: RetryInfoSchema, value: { retryDelay: { nanos: (retryMs ?? 0) * 1_000_000 } } };
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "connect-commerce", metadata: { a: "b" } } };
  const error = new ConnectError("no", code, undefined, retryMs === undefined ? [info] : [info, retry]);
  const headers = { "content-type": "application/json" };
  return new Response(errorToJsonBytes(error, {}), { status: codeToHttpStatus(code), headers });
}

export const unavailable = () => refusal(Code.Unavailable, "OVERLOADED", 0);

export function answer<D extends DescMessage>(desc: D, message: MessageInitShape<D>): Response {
  return new Response(toJsonString(desc, create(desc, message)), { headers: { "content-type": "application/json" } });
}

export interface Asked {
  readonly method: string;
  readonly body: string;
  readonly as: string | null;
}

export type Answer = (asked: Asked, count: number) => Response | Promise<Response>;

/** A client of a shop that answers so; and what it was asked. */
export function shopThat(respond: Answer, options: Partial<ShopOptions> = {}): { shop: Shop; asked: Asked[] } {
  const asked: Asked[] = [];
  const shop = createShop({
    baseUrl: "https://shop.example",
    async fetch(input, init) {
      const call = {
        method: new Request(input).url.split("/").pop() ?? "",
        body: new TextDecoder().decode(init?.body as Uint8Array),
        as: new Headers(init?.headers).get("authorization"),
      };
      asked.push(call);
      return respond(call, asked.length);
    },
    ...options,
  });
  return { shop, asked };
}

export const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );
