import { generateKeyPairSync } from "node:crypto";
import { SignJWT } from "jose";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { PeerError, errors } from "../../platform/errors.ts";
import { createIdentify } from "./identify.ts";
import type { RevocationBatch } from "./revocations.ts";
import { followRevocations } from "./revocations.ts";
import { createSigningKeys } from "./signing-keys.ts";

const log = pino({ level: "silent" });
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const published = { id: "k1", publicKey: Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url") };

function token(sid: string, kid = "k1"): Promise<string> {
  return new SignJWT({ sid, permissions: [] })
    .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid })
    .setIssuer("connect-commerce")
    .setAudience("connect-commerce")
    .setSubject("ada")
    .setIssuedAt()
    .setExpirationTime("600s")
    .sign(privateKey);
}

/** A feed that is told what to send, and how to break. */
function createFeed() {
  const started: bigint[] = [];
  let send: (batch: RevocationBatch | Error) => void = () => undefined;
  async function* watch(after: bigint, signal: AbortSignal): AsyncIterable<RevocationBatch> {
    started.push(after);
    for (;;) {
      const { promise, resolve, reject } = Promise.withResolvers<RevocationBatch>();
      send = (batch) => (batch instanceof Error ? reject(batch) : resolve(batch));
      signal.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
      yield await promise;
    }
  }
  const revocations = followRevocations({ watch, log });
  onTestFinished(() => revocations.close());
  return { revocations, started, send: (batch: RevocationBatch | Error) => send(batch) };
}

function setUp(read = async () => [published]) {
  const feed = createFeed();
  const apiKeys = { find: async () => undefined, onRevoked: () => () => undefined, used: () => undefined };
  const identify = createIdentify({ keys: createSigningKeys(read), revocations: feed.revocations, apiKeys });
  const by = (authorization?: string) => identify((name) => (name === "authorization" ? authorization : undefined));
  return { ...feed, by };
}

test("nobody, somebody, and what is no token", async () => {
  const { by, send } = setUp();
  send({ sessionIds: [], position: 0n });
  expect(await by()).toEqual({ subject: { kind: "anonymous" } });
  expect(await by(`Bearer ${await token("s1")}`)).toMatchObject({
    subject: { kind: "user", id: "ada", sessionId: "s1" },
  });
  expect(await by(`bearer ${await token("s1")}`)).toMatchObject({ subject: { id: "ada" } });
  for (const bad of ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b", "Bearer a b c", await token("s1")]) {
    await expect(by(bad)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
  }
  await expect(by(`Bearer ${"x".repeat(5_000)}.y.z`)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
});

test("a session that ends is refused from then on, and what listens is told", async () => {
  const { by, send } = setUp();
  send({ sessionIds: ["s0"], position: 7n });
  const authorization = `Bearer ${await token("s1")}`;
  const identity = await by(authorization);
  const told = vi.fn<() => void>();
  identity.onRevoked?.(told);
  const notTold = vi.fn<() => void>();
  identity.onRevoked?.(notTold)();
  await expect(by(`Bearer ${await token("s0")}`)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
  send({ sessionIds: ["s1"], position: 8n });
  await vi.waitFor(() => expect(told).toHaveBeenCalledOnce());
  expect(notTold).not.toHaveBeenCalled();
  await expect(by(authorization)).rejects.toMatchObject({ reason: "TOKEN_INVALID" });
  // Whoever begins to listen only now is told too.
  const late = vi.fn<() => void>();
  identity.onRevoked?.(late);
  await vi.waitFor(() => expect(late).toHaveBeenCalledOnce());
});

test("a feed that breaks goes on where it was", async () => {
  const { send, started, revocations } = setUp();
  send({ sessionIds: ["s0"], position: 7n });
  await vi.waitFor(() => expect(revocations.isRevoked("s0")).toBe(true));
  send(new Error("gone"));
  await vi.waitFor(() => expect(started).toEqual([0n, 7n]));
  send({ sessionIds: ["s1"], position: 8n });
  await vi.waitFor(() => expect(revocations.isRevoked("s1")).toBe(true));
  expect(revocations.isRevoked("s0")).toBe(true);
});

test("a feed that is silent is taken for broken", async () => {
  const { started } = setUp();
  await vi.waitFor(() => expect(started).toHaveLength(2), 5_000);
});

test("until it knows which sessions have ended, nobody is let in", async () => {
  const { by } = setUp();
  await expect(by(`Bearer ${await token("s1")}`)).rejects.toMatchObject({ reason: "PEER_DOWN" });
});

test("without keys the user role is down; invented key ids do not ask it each time", async () => {
  const down = async () => Promise.reject(new PeerError("user", errors.PEER_DOWN()));
  await expect(setUp(down).by(`Bearer ${await token("s1")}`)).rejects.toMatchObject({ reason: "PEER_DOWN" });
  const read = vi.fn<() => Promise<(typeof published)[]>>(async () => [published]);
  const { by } = setUp(read);
  for (let n = 0; n < 50; n += 1) {
    await expect(by(`Bearer ${await token("s1", `invented-${String(n)}`)}`)).rejects.toMatchObject({
      reason: "TOKEN_INVALID",
    });
  }
  expect(read).toHaveBeenCalledOnce();
});
