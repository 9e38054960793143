import { randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import { pino } from "pino";
import { derivedKeys } from "../src/platform/assertion-keys.ts";
import { createAssertions } from "../src/platform/assertion.ts";
import type { Subject } from "../src/platform/call.ts";
import { createIdentify } from "../src/roles/gateway/identify.ts";
import { followRevocations } from "../src/roles/gateway/revocations.ts";
import { createSigningKeys } from "../src/roles/gateway/signing-keys.ts";
import { newKeyPair } from "../src/roles/user/signing-key.ts";

/**
 * What it costs a call to know who calls: the gateway's look at an access token and the assertion between two roles, with
 * caches that know it and caches that do not. Medians of rounds, and the ratio of cold to warm: `npm run bench:identity`.
 */

const ROUNDS = 15;
const PER_ROUND = 1_000;

const log = pino({ level: "silent" });
const { publicKey, privateKey } = newKeyPair();
const keys = createSigningKeys(() => Promise.resolve([{ id: "k", publicKey }]));
const closing = new AbortController();
async function* feed() {
  yield { sessionIds: [], position: 0n };
  await new Promise((resolve) => closing.signal.addEventListener("abort", resolve));
}
const revocations = followRevocations({ watch: () => feed(), log });
const apiKeys = { find: () => Promise.resolve(undefined) } as unknown as Parameters<
  typeof createIdentify
>[0]["apiKeys"];

function accessToken(): Promise<string> {
  return new SignJWT({ sid: randomUUID(), permissions: ["order.read"] })
    .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid: "k" })
    .setIssuer("connect-commerce")
    .setAudience("connect-commerce")
    .setSubject(randomUUID())
    .setIssuedAt()
    .setExpirationTime("600s")
    .sign(privateKey);
}

const speakers = {
  keys: derivedKeys("a secret of the bench, at least 32 characters"),
  roles: { gateway: { edge: true }, order: {} },
};
const subject = (): Subject => ({
  kind: "user",
  id: randomUUID(),
  permissions: ["order.read"],
  sessionId: randomUUID(),
});

/** Microseconds of one call, the median of the rounds. `prepare` is not measured. */
async function measure<T>(prepare: () => Promise<T>, call: (prepared: T) => Promise<unknown>): Promise<number> {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const prepared: T[] = [];
    for (let n = 0; n < PER_ROUND; n += 1) prepared.push(await prepare());
    const startedAt = performance.now();
    for (const one of prepared) await call(one);
    rounds.push(((performance.now() - startedAt) * 1_000) / PER_ROUND);
  }
  return rounds.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

const identify = createIdentify({ keys, revocations, apiKeys });
const by = (token: string) => identify((name) => (name === "authorization" ? `Bearer ${token}` : undefined));
const known = await accessToken();
const [gateway, order] = [createAssertions("gateway", speakers), createAssertions("order", speakers)];
const ada = subject();
const assertion = await gateway.sign("order", ada, true);

const rows = [
  ["access token", await measure(() => Promise.resolve(known), by), await measure(accessToken, by)],
  [
    "assertion, made",
    await measure(
      () => Promise.resolve(ada),
      (who) => gateway.sign("order", who, true),
    ),
    await measure(
      () => Promise.resolve(subject()),
      (who) => gateway.sign("order", who, true),
    ),
  ],
  [
    "assertion, verified",
    await measure(
      () => Promise.resolve(assertion),
      (token) => order.verify(token),
    ),
    await measure(
      () => gateway.sign("order", subject(), true),
      (token) => order.verify(token),
    ),
  ],
] as const;
process.stdout.write("µs per call, median of rounds    warm     cold    cold/warm\n");
for (const [name, warm, cold] of rows) {
  const numbers = [warm.toFixed(1).padStart(8), cold.toFixed(1).padStart(8), (cold / warm).toFixed(0).padStart(8)];
  process.stdout.write(`${name.padEnd(30)}${numbers.join(" ")}\n`);
}
closing.abort();
await revocations.close();
