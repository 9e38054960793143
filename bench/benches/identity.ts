import { randomUUID } from "node:crypto";
import { SignJWT } from "jose";
import { pino } from "pino";
import { derivedKeys } from "../../src/platform/assertion-keys.ts";
import { createAssertions } from "../../src/platform/assertion.ts";
import type { Subject } from "../../src/platform/call.ts";
import { createIdentify } from "../../src/roles/gateway/identify.ts";
import { followRevocations } from "../../src/roles/gateway/revocations.ts";
import { createSigningKeys } from "../../src/roles/gateway/signing-keys.ts";
import { newKeyPair } from "../../src/roles/user/signing-key.ts";
import type { Bench } from "../support/bench.ts";
import type { Plan } from "../support/figures.ts";

const CALLS = 1_000;

const log = pino({ level: "silent" });
const speakers = {
  keys: derivedKeys("a secret of the bench, at least 32 characters"),
  roles: { gateway: { edge: true }, order: {} },
};
const apiKeys = { find: () => Promise.resolve(undefined) } as unknown as Parameters<
  typeof createIdentify
>[0]["apiKeys"];

export const identity: Bench = {
  about: "who calls: the gateway's look at an access token and the assertion between two roles, known and not",
  async open(_settings, stack) {
    const { publicKey, privateKey } = newKeyPair();
    const keys = createSigningKeys(() => Promise.resolve([{ id: "k", publicKey }]));
    const closing = new AbortController();
    async function* feed() {
      yield { sessionIds: [], position: 0n };
      await new Promise((resolve) => closing.signal.addEventListener("abort", resolve));
    }
    const revocations = followRevocations({ watch: () => feed(), log });
    stack.defer(() => revocations.close());
    stack.defer(() => {
      closing.abort();
    });
    const accessToken = () =>
      new SignJWT({ sid: randomUUID(), permissions: ["order.read"] })
        .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid: "k" })
        .setIssuer("connect-commerce")
        .setAudience("connect-commerce")
        .setSubject(randomUUID())
        .setIssuedAt()
        .setExpirationTime("600s")
        .sign(privateKey);
    const identify = createIdentify({ keys, revocations, apiKeys });
    const by = (token: string) => identify((name) => (name === "authorization" ? `Bearer ${token}` : undefined));
    const [gateway, order] = [createAssertions("gateway", speakers), createAssertions("order", speakers)];
    const ada = subject();
    const [token, assertion] = [await accessToken(), await gateway.sign("order", ada, true)];
    const sign = (who: Subject) => gateway.sign("order", who, true);
    return [
      ...pair("access token", () => Promise.resolve(token), accessToken, by),
      ...pair(
        "assertion, made",
        () => Promise.resolve(ada),
        () => Promise.resolve(subject()),
        sign,
      ),
      ...pair(
        "assertion, verified",
        () => Promise.resolve(assertion),
        () => sign(subject()),
        (signed) => order.verify(signed),
      ),
    ];
  },
};

function subject(): Subject {
  return { kind: "user", id: randomUUID(), permissions: ["order.read"], sessionId: randomUUID() };
}

/** The same with what the caches know, and with what they do not. */
function pair<T>(
  name: string,
  known: () => Promise<T>,
  unknown: () => Promise<T>,
  call: (prepared: T) => Promise<unknown>,
): Plan[] {
  const plan = (prepare: () => Promise<T>) => async () => ({ value: await measure(prepare, call) });
  return [
    { name: `${name}, cold`, unit: "µs", against: [`${name}, warm`], run: plan(unknown) },
    { name: `${name}, warm`, unit: "µs", run: plan(known) },
  ];
}

/** Microseconds of one call. `prepare` is not measured. */
async function measure<T>(prepare: () => Promise<T>, call: (prepared: T) => Promise<unknown>): Promise<number> {
  const prepared: T[] = [];
  for (let n = 0; n < CALLS; n += 1) prepared.push(await prepare());
  const startedAt = performance.now();
  for (const one of prepared) await call(one);
  return ((performance.now() - startedAt) * 1_000) / CALLS;
}
