import { create } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { GetUserResponseSchema, UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { AppError } from "../errors.ts";
import { PeerError, errors } from "../errors.ts";
import { withRetries } from "./retry.ts";

/** A transport whose first calls fail. */
function failing(times: number, error: () => AppError = () => errors.PEER_DOWN()) {
  const state = { calls: 0 };
  const transport = {
    unary(method: unknown) {
      state.calls += 1;
      if (state.calls <= times) return Promise.reject(new PeerError("user", error()));
      return Promise.resolve({
        method,
        message: create(GetUserResponseSchema),
        header: new Headers(),
        trailer: new Headers(),
      });
    },
    stream: () => Promise.reject(new Error("no streams here")),
  } as unknown as Transport;
  return {
    state,
    client: createClient(
      UserService,
      withRetries(transport, () => 0),
    ),
  };
}

describe("withRetries", () => {
  test("a read is tried three times, then its error is the answer", async () => {
    const { state, client } = failing(2);
    await client.getUser({ id: "x" });
    expect(state.calls).toBe(3);
    const worse = failing(3);
    await expect(worse.client.getUser({ id: "x" })).rejects.toThrow(PeerError);
    expect(worse.state.calls).toBe(3);
  });

  test("a write is tried again only with an idempotency key", async () => {
    const plain = failing(1);
    await expect(plain.client.createUser({ email: "a@example.com" })).rejects.toThrow(PeerError);
    expect(plain.state.calls).toBe(1);
    const keyed = failing(1);
    await keyed.client.createUser({ email: "a@example.com", idempotencyKey: "k" });
    expect(keyed.state.calls).toBe(2);
  });

  test("nothing but UNAVAILABLE is tried again", async () => {
    const { state, client } = failing(1, () => errors.DEADLINE());
    await expect(client.getUser({ id: "x" })).rejects.toThrow(PeerError);
    expect(state.calls).toBe(1);
  });

  test("retries stay within a tenth of the calls, once what was saved up is spent", async () => {
    const { state, client } = failing(Number.POSITIVE_INFINITY);
    const calls = 200;
    for (let n = 0; n < calls; n += 1) await client.getUser({ id: "x" }).catch(() => undefined);
    expect(state.calls - calls).toBeLessThanOrEqual(10 + calls / 10);
    expect(state.calls - calls).toBeGreaterThanOrEqual(calls / 10);
  });
});
