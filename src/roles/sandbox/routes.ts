import { timingSafeEqual } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { RawRequest, RawResponse, RawRoute } from "../../platform/raw-routes.ts";
import type { ChangeContext, Done } from "./change-payment.ts";
import { Refused, authorizePayment, changePayment, decideAction } from "./change-payment.ts";
import { actionPage, decidedPage, missingPage } from "./pages.ts";
import type { Operation, Script } from "./payment.ts";
import { scriptOf } from "./payment.ts";
import type { SandboxPayment } from "./store.ts";
import { findPayment, findPayments, listPayments } from "./store.ts";

/** The largest request, in bytes. */
const MOST_BYTES = 8_192;
/** The largest amount, in minor units: what its column holds. */
const MOST_MINOR = 2n ** 63n - 1n;
const PAGE = 100;
/** Milliseconds after which a call that is never answered ends all the same. */
const SILENCE_MS = 25_000;

export interface RouteContext extends ChangeContext {
  /** What clients send as a bearer token. */
  readonly apiKey: string;
  /** Where a buyer's browser reaches these routes. */
  readonly pagesUrl: () => string;
  /** Tells what is to be told of a payment, by the client's id, before a call is answered. */
  readonly tellNow: (paymentId: string) => Promise<unknown>;
}

/** The HTTP interface of the provider, and the page on which a buyer confirms. */
export function sandboxRoutes(context: RouteContext): readonly RawRoute[] {
  const { db, apiKey } = context;

  const api = (
    method: RawRoute["method"],
    path: string,
    answer: (request: RawRequest) => Promise<RawResponse>,
  ): RawRoute => ({
    method,
    path: `/v1${path}`,
    maxBytes: method === "GET" ? 0 : MOST_BYTES,
    headers: ["authorization", "idempotency-key"],
    access: "public",
    handle: async (request) => {
      if (!isKey(request.headers["authorization"] ?? "", apiKey))
        return refusal(401, "unauthenticated", "Wrong API key.");
      try {
        return await answer(request);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return refusal(error.status, error.code, error.message);
      }
    },
  });

  const change = (operation: Exclude<Operation, "authorize">, path: string): RawRoute =>
    api("POST", `/payments/:reference/${path}`, async (request) => {
      const body = parseBody(request);
      const minor = operation === "void" ? 0n : minorOf(body["amount_minor"]);
      const done = await changePayment(context, operation, keyOf(request), textOf(request.params["reference"]), minor);
      return reply(context, operation, done, request);
    });

  return [
    api("POST", "/payments", async (request) => {
      const body = parseBody(request);
      const token = textOf(body["method_token"]);
      await delay(scriptOf(token)?.delayMs ?? 0);
      const done = await authorizePayment(context, keyOf(request), {
        paymentId: textOf(body["payment_id"]),
        orderId: textOf(body["order_id"]),
        currency: textOf(body["currency"]),
        minor: minorOf(body["amount_minor"]),
        methodToken: token,
        returnUrl: textOf(body["return_url"]),
      });
      return reply(context, "authorize", done, request);
    }),
    change("capture", "capture"),
    change("void", "void"),
    change("refund", "refunds"),
    api("GET", "/payments", async ({ query }) => {
      const payments = query.has("payment_id")
        ? await findPayments(db, textOf(query.get("payment_id")))
        : await listPayments(db, timeOf(query.get("since")), textOf(query.get("after") ?? "") || undefined, PAGE);
      return json(200, { payments: payments.map((payment) => toJson(context, payment)) });
    }),
    // A POST: addresses are logged, and a token is nothing for a log.
    api("POST", "/methods", (request) => {
      const script = scriptOf(textOf(parseBody(request)["token"]));
      return Promise.resolve(
        script ? json(200, describe(script)) : refusal(404, "not_found", "There is no such token."),
      );
    }),
    {
      method: "GET",
      path: "/pay/:reference",
      maxBytes: 0,
      access: "public",
      handle: async ({ params: { reference = "" } }) => {
        const payment = isReference(reference) ? await findPayment(db, reference) : undefined;
        if (!payment) return missingPage();
        return payment.state === "requires_action" ? actionPage(payment) : decidedPage(payment);
      },
    },
    {
      method: "POST",
      path: "/pay/:reference",
      maxBytes: MOST_BYTES,
      access: "public",
      handle: async ({ params: { reference = "" }, body }) => {
        if (!isReference(reference)) return missingPage();
        const decision = new URLSearchParams(body.toString()).get("decision");
        if (decision === "approve" || decision === "decline") {
          const decided = await decideAction(context, reference, decision === "approve");
          if (decided && isWebUrl(decided.return_url)) {
            return { status: 303, headers: { location: decided.return_url, "cache-control": "no-store" } };
          }
        }
        const payment = await findPayment(db, reference);
        if (!payment) return missingPage();
        return payment.state === "requires_action" ? actionPage(payment) : decidedPage(payment);
      },
    },
  ];
}

/** Answers what was done; where the token's script loses the answer, the first call does not get it. */
async function reply(
  context: RouteContext,
  operation: Operation,
  { payment, script, replayed }: Done,
  { signal }: RawRequest,
): Promise<RawResponse> {
  if (script.webhooks === "early") await context.tellNow(payment.payment_id);
  if (!replayed && script.loses?.operation === operation) {
    if (script.loses.as === "error") return refusal(500, "internal", "Something went wrong here.");
    await delay(SILENCE_MS, undefined, { signal }).catch(() => undefined);
    return refusal(504, "timeout", "This took too long.");
  }
  return json(200, toJson(context, payment));
}

function toJson({ pagesUrl }: RouteContext, payment: SandboxPayment) {
  return {
    id: payment.reference,
    payment_id: payment.payment_id,
    order_id: payment.order_id,
    state: payment.state,
    amount_minor: String(payment.amount_minor),
    currency: payment.currency,
    captured_minor: String(payment.captured_minor),
    decline_code: payment.decline_code,
    redirect_url: payment.state === "requires_action" ? `${pagesUrl()}/pay/${payment.reference}` : "",
    refunds: payment.refunds.map(({ key, amount_minor: minor, state, failure_code: failureCode }) => ({
      key,
      amount_minor: String(minor),
      state,
      failure_code: failureCode,
    })),
    created_at: payment.created_at.toISOString(),
  };
}

function describe({ brand = "sandbox", lastDigits = "" }: Script) {
  return { brand, last_digits: lastDigits, expiry_month: 12, expiry_year: 2099 };
}

function json(status: number, body: unknown): RawResponse {
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  return { status, headers, body: JSON.stringify(body) };
}

function refusal(status: number, code: string, message: string): RawResponse {
  return json(status, { error: { code, message } });
}

function isKey(authorization: string, apiKey: string): boolean {
  const given = Buffer.from(authorization);
  const wanted = Buffer.from(`Bearer ${apiKey}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function keyOf({ headers }: RawRequest): string {
  const key = headers["idempotency-key"] ?? "";
  if (key === "" || key.length > 255) throw new Refused(400, "key_missing", "Each change needs an idempotency key.");
  return key;
}

function parseBody({ body }: RawRequest): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString() || "{}");
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Told below.
  }
  throw new Refused(400, "malformed", "The body must be a JSON object.");
}

function textOf(value: unknown): string {
  if (typeof value !== "string" || value.length > 2_000 || value.includes("\0")) {
    throw new Refused(400, "malformed", "A field is missing or no text.");
  }
  return value;
}

function minorOf(value: unknown): bigint {
  const minor = typeof value === "string" && /^[1-9]\d{0,18}$/.test(value) ? BigInt(value) : 0n;
  if (minor < 1n || minor > MOST_MINOR) {
    throw new Refused(400, "malformed", "amount_minor must be digits, above 0, and fit 64 bits.");
  }
  return minor;
}

function timeOf(value: string | null): Date {
  const time = new Date(value ?? "");
  if (Number.isNaN(time.getTime())) throw new Refused(400, "malformed", "since must be a time.");
  return time;
}

function isReference(text: string): boolean {
  return /^pay_[\da-f-]{36}$/.test(text);
}

function isWebUrl(text: string): boolean {
  return /^https?:$/.test(URL.parse(text)?.protocol ?? "");
}
