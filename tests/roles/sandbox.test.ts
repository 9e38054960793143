import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { sql } from "kysely";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { RawResponse, RawRoute } from "../../src/platform/raw-routes.ts";
import { deriveKey } from "../../src/platform/secret.ts";
import { newId } from "../../src/platform/id.ts";
import sandbox from "../../src/roles/sandbox/index.ts";
import type { SandboxTables } from "../../src/roles/sandbox/schema.ts";
import { pruneWebhooks } from "../../src/roles/sandbox/store.ts";
import { until } from "../support/conditions.ts";
import type { TestRole } from "../support/role.ts";
import { startTestRole } from "../support/role.ts";

const secret = "a secret of the tests, at least 32 characters";
const apiKey = deriveKey(secret, "", "sandbox").toString("hex");
const received: { readonly body: string; readonly signature: string }[] = [];
let refuseWebhooks = 0;
const receiver = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    const refused = refuseWebhooks > 0;
    if (refused) refuseWebhooks -= 1;
    else
      received.push({ body: Buffer.concat(parts).toString(), signature: String(request.headers["sandbox-signature"]) });
    response.writeHead(refused ? 503 : 200).end();
  });
});

let role: TestRole;

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${String((receiver.address() as AddressInfo).port)}`;
  role = await startTestRole("sandbox", sandbox, { routesUrl: (name) => `${origin}/-/${name}` });
});

afterAll(async () => {
  await role[Symbol.asyncDispose]();
  receiver.closeAllConnections();
  await new Promise((resolve) => receiver.close(resolve));
});

beforeEach(() => {
  received.length = 0;
});

interface Sent {
  readonly key?: string;
  readonly body?: string;
  readonly query?: string;
  readonly authorization?: string;
  readonly signal?: AbortSignal;
}

/** Calls a route as the port does. */
async function send(method: RawRoute["method"], path: string, sent: Sent = {}): Promise<RawResponse> {
  for (const route of role.running.routes ?? []) {
    const names = [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => name ?? "");
    const match = new RegExp(`^${route.path.replaceAll(/:\w+/g, "([^/]+)")}$`).exec(path);
    if (!match || route.method !== method) continue;
    return route.handle({
      method,
      path,
      params: Object.fromEntries(names.map((name, index) => [name, match[index + 1] ?? ""])),
      query: new URLSearchParams(sent.query),
      headers: {
        authorization: sent.authorization ?? `Bearer ${apiKey}`,
        ...(sent.key !== undefined && { "idempotency-key": sent.key }),
      },
      body: Buffer.from(sent.body ?? ""),
      requestId: newId(),
      signal: sent.signal ?? new AbortController().signal,
      log: pino({ level: "silent" }),
    });
  }
  throw new Error(`there is no route ${method} ${path}`);
}

interface Payment {
  readonly id: string;
  readonly state: string;
  readonly captured_minor: string;
  readonly decline_code: string;
  readonly redirect_url: string;
  readonly refunds: readonly { readonly key: string; readonly amount_minor: string; readonly state: string }[];
  readonly error?: { readonly code: string };
}

const parsed = ({ body }: RawResponse) => JSON.parse(String(body)) as Payment;
const codeOf = (answer: RawResponse) => [answer.status, parsed(answer).error?.code];

function authorize(token: string, paymentId = newId(), sent: Sent = {}): Promise<RawResponse> {
  const body = {
    payment_id: paymentId,
    order_id: newId(),
    amount_minor: "1290",
    currency: "EUR",
    method_token: token,
    return_url: "http://shop.test/back",
  };
  return send("POST", "/v1/payments", { key: newId(), body: JSON.stringify(body), ...sent });
}

const capture = (id: string, minor = "1290", key = newId()) =>
  send("POST", `/v1/payments/${id}/capture`, { key, body: JSON.stringify({ amount_minor: minor }) });
const refund = (id: string, minor: string, key = newId()) =>
  send("POST", `/v1/payments/${id}/refunds`, { key, body: JSON.stringify({ amount_minor: minor }) });

async function find(paymentId: string): Promise<Payment[]> {
  const answer = await send("GET", "/v1/payments", { query: `payment_id=${paymentId}` });
  return (JSON.parse(String(answer.body)) as { payments: Payment[] }).payments;
}

const journal = (reference: string) =>
  role.database<SandboxTables>().selectFrom("journal").selectAll().where("reference", "=", reference).execute();

describe("the interface of the provider", () => {
  test("holds, takes and pays back, and tells each by a signed webhook", async () => {
    const paymentId = newId();
    const payment = parsed(await authorize("tok_approved", paymentId));
    expect(payment).toMatchObject({ state: "authorized", captured_minor: "0", refunds: [] });
    expect(parsed(await capture(payment.id))).toMatchObject({ state: "captured", captured_minor: "1290" });
    expect(parsed(await refund(payment.id, "290", "r1")).refunds).toMatchObject([{ key: "r1", state: "succeeded" }]);
    expect((await journal(payment.id)).map(({ kind, amount_minor: minor }) => [kind, minor])).toEqual([
      ["authorization", 1290n],
      ["capture", 1290n],
      ["refund", 290n],
    ]);
    await until(() => received.length === 3);
    const types = received.map(({ body }) => (JSON.parse(body) as { type: string }).type).sort();
    expect(types).toEqual(["payment.authorized", "payment.captured", "payment.refunded"]);
    for (const { body, signature } of received) {
      const [, time, mac] = /^t=(\d+),v1=([\da-f]{64})$/.exec(signature) ?? [];
      const key = deriveKey(secret, "", "sandbox webhooks");
      expect(mac).toBe(
        createHmac("sha256", key)
          .update(`${String(time)}.${body}`)
          .digest("hex"),
      );
    }
  });

  test("does each key once, however often and from wherever it comes", async () => {
    const paymentId = newId();
    const key = newId();
    const body = {
      payment_id: paymentId,
      order_id: paymentId,
      amount_minor: "1290",
      currency: "EUR",
      method_token: "tok_approved",
      return_url: "",
    };
    const calls = Array.from({ length: 20 }, () => send("POST", "/v1/payments", { key, body: JSON.stringify(body) }));
    const ids = new Set((await Promise.all(calls)).map((answer) => parsed(answer).id));
    expect(ids.size).toBe(1);
    const [id = ""] = ids;
    const again = JSON.stringify({ ...body, amount_minor: "1291" });
    expect(codeOf(await send("POST", "/v1/payments", { key, body: again }))).toEqual([409, "key_reused"]);
    const captures = await Promise.all(Array.from({ length: 20 }, () => capture(id, "1290", "c1")));
    expect(captures.every(({ status }) => status === 200)).toBe(true);
    const others = await Promise.all(Array.from({ length: 5 }, () => capture(id)));
    expect(others.map(codeOf)).toEqual(others.map(() => [402, "not_authorized"]));
    expect((await journal(id)).map(({ kind }) => kind)).toEqual(["authorization", "capture"]);
  });

  test("never pays back more than was taken", async () => {
    const { id } = parsed(await authorize("tok_approved"));
    await capture(id);
    const refunds = await Promise.all(Array.from({ length: 10 }, () => refund(id, "400")));
    expect(refunds.filter(({ status }) => status === 200)).toHaveLength(3);
    expect(refunds.filter(({ status }) => status === 402)).toHaveLength(7);
  });

  test("refuses who has no key, and what is malformed", async () => {
    expect((await authorize("tok_approved", newId(), { authorization: "Bearer guess" })).status).toBe(401);
    expect(codeOf(await authorize("tok_approved", newId(), { key: "" }))).toEqual([400, "key_missing"]);
    expect(codeOf(await authorize("tok_approved", newId(), { body: "[" }))).toEqual([400, "malformed"]);
    expect(codeOf(await authorize("4242424242424242"))).toEqual([402, "unknown_token"]);
    expect(codeOf(await capture("pay_none"))).toEqual([404, "not_found"]);
    for (const minor of ["0", "-1", "1.5", String(2n ** 63n)]) {
      expect(codeOf(await capture("pay_none", minor))).toEqual([400, "malformed"]);
    }
  });

  test("describes what a token stands for, which no address names", async () => {
    const ask = (token: string) => send("POST", "/v1/methods", { body: JSON.stringify({ token }) });
    expect((await ask("tok_nothing")).status).toBe(404);
    expect(JSON.parse(String((await ask("tok_approved")).body))).toMatchObject({ last_digits: "4242" });
    expect(role.running.routes?.filter(({ path }) => path.includes(":token"))).toEqual([]);
  });

  test("forgets webhooks thirty days after they were delivered", async () => {
    const db = role.database<SandboxTables>();
    const of = async (paymentId: string) =>
      (await db.selectFrom("webhooks").select("type").where("payment_id", "=", paymentId).execute()).map(
        ({ type }) => type,
      );
    const [old, fresh] = [newId(), newId()];
    for (const paymentId of [old, fresh]) await authorize("tok_approved", paymentId);
    await sql`insert into webhooks (event_id, type, payment_id, occurred_at, due_at, attempts)
      values (${newId()}, 'payment.lost', ${old}, now() - interval '40 days', now(), 1000)`.execute(db);
    const ours = db
      .updateTable("webhooks")
      .where("payment_id", "in", [old, fresh])
      .where("delivered_at", "is not", null);
    const age = sql<Date>`now() - case when payment_id = ${old} then interval '31 days' else interval '29 days' end`;
    const aged = ours.set({ delivered_at: age });
    await until(async () => (await aged.executeTakeFirst()).numUpdatedRows === 2n);
    await pruneWebhooks(db);
    // The one that was never accepted stays.
    expect([await of(old), await of(fresh)]).toEqual([["payment.lost"], ["payment.authorized"]]);
  });

  test("lists what was recorded since then, page by page", async () => {
    const since = role.clock.now().toISOString();
    const first = parsed(await authorize("tok_approved"));
    const second = parsed(await authorize("tok_approved"));
    const answer = await send("GET", "/v1/payments", { query: `since=${since}&after=${first.id}` });
    const { payments } = JSON.parse(String(answer.body)) as { payments: Payment[] };
    expect(payments.map(({ id }) => id)).toEqual([second.id]);
  });
});

describe("the stories of the tokens", () => {
  test.each([
    ["tok_declined", "card_declined"],
    ["tok_insufficient_funds", "insufficient_funds"],
    ["tok_expired_card", "expired_card"],
  ])("%s is declined: %s", async (token, code) => {
    expect(parsed(await authorize(token))).toMatchObject({ state: "declined", decline_code: code });
  });

  test("tok_error_after_charge answers 500, and has done it; its key tells", async () => {
    const paymentId = newId();
    const key = newId();
    expect((await authorize("tok_error_after_charge", paymentId, { key })).status).toBe(500);
    expect(await find(paymentId)).toMatchObject([{ state: "authorized" }]);
  });

  test("tok_timeout_after_charge never answers, and has done it", async () => {
    const paymentId = newId();
    const gone = new AbortController();
    const answer = authorize("tok_timeout_after_charge", paymentId, { signal: gone.signal });
    await until(async () => (await find(paymentId)).length === 1);
    gone.abort();
    expect((await answer).status).toBe(504);
    expect(await find(paymentId)).toMatchObject([{ state: "authorized" }]);
  });

  test("tok_error_after_capture loses the answer once; tok_capture_refused does nothing", async () => {
    const lost = parsed(await authorize("tok_error_after_capture"));
    expect((await capture(lost.id, "1290", "k")).status).toBe(500);
    expect(parsed(await capture(lost.id, "1290", "k"))).toMatchObject({ state: "captured" });
    const refused = parsed(await authorize("tok_capture_refused"));
    expect(codeOf(await capture(refused.id))).toEqual([402, "capture_refused"]);
    expect((await journal(refused.id)).map(({ kind }) => kind)).toEqual(["authorization"]);
  });

  test("tok_refund_pending pays later, tok_refund_refused never", async () => {
    const pending = parsed(await authorize("tok_refund_pending", "later"));
    await capture(pending.id);
    expect(parsed(await refund(pending.id, "5")).refunds).toMatchObject([{ state: "pending" }]);
    role.clock.advance(2_001);
    await until(async () => (await find("later"))[0]?.refunds[0]?.state === "succeeded");
    const refused = parsed(await authorize("tok_refund_refused"));
    await capture(refused.id);
    expect(codeOf(await refund(refused.id, "5"))).toEqual([402, "refund_refused"]);
  });

  test("webhooks come twice, early, or never, and again until they are accepted", async () => {
    await authorize("tok_webhook_early", "early");
    expect(received.filter(({ body }) => body.includes('"early"'))).toHaveLength(1);
    await authorize("tok_webhook_never", "never");
    await authorize("tok_webhook_twice", "twice");
    refuseWebhooks = 1;
    await until(() => received.filter(({ body }) => body.includes('"twice"')).length === 2);
    expect(received.some(({ body }) => body.includes('"never"'))).toBe(false);
  }, 20_000);
});

describe("the page of a bank", () => {
  const decide = (id: string, decision: string) =>
    send("POST", `/pay/${id}`, { body: `decision=${decision}`, authorization: "" });

  test("shows the amount, and sends the buyer back once they have decided", async () => {
    const payment = parsed(await authorize("tok_requires_action", "page"));
    expect(payment).toMatchObject({
      state: "requires_action",
      redirect_url: `http://shop.test/-/sandbox/pay/${payment.id}`,
    });
    const page = await send("GET", `/pay/${payment.id}`, { authorization: "" });
    expect(String(page.body)).toContain("Approve 12.90 EUR");
    expect(codeOf(await capture(payment.id))).toEqual([402, "not_authorized"]);
    expect(await decide(payment.id, "approve")).toMatchObject({
      status: 303,
      headers: { location: "http://shop.test/back" },
    });
    expect(await find("page")).toMatchObject([{ state: "authorized", redirect_url: "" }]);
    expect(String((await send("GET", `/pay/${payment.id}`, { authorization: "" })).body)).toContain("is approved");
    expect(String((await decide(payment.id, "decline")).body)).toContain("is approved");
  });

  test("declines, and has nothing to decide of a payment that was given back", async () => {
    const declined = parsed(await authorize("tok_requires_action", "no"));
    await decide(declined.id, "decline");
    expect(await find("no")).toMatchObject([{ state: "declined", decline_code: "action_declined" }]);
    const voided = parsed(await authorize("tok_requires_action"));
    await send("POST", `/v1/payments/${voided.id}/void`, { key: newId() });
    expect(String((await decide(voided.id, "approve")).body)).toContain("is cancelled");
    expect((await send("GET", "/pay/pay_none", { authorization: "" })).status).toBe(404);
  });
});
