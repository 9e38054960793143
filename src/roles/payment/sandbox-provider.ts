import { createHmac, timingSafeEqual } from "node:crypto";
import type { PeerFetch } from "../../platform/peer-fetch.ts";
import type { ProviderMethod, PaymentProvider, ProviderPayment, WebhookEvent } from "./provider.ts";
import { METHOD_UNKNOWN, ProviderRefusal } from "./provider.ts";

export interface SandboxOptions {
  /** Where its HTTP interface is, `http://…/-/sandbox`; asked for with each call. */
  readonly url: () => string;
  readonly fetchPeer: PeerFetch;
  /** What is sent as a bearer token. */
  readonly apiKey: string;
  /** What webhooks are signed with. */
  readonly webhookKey: Buffer;
}

const DAY_MS = 86_400_000;
const PAGE = 100;
const SIGNATURE = "sandbox-signature";
/** Seconds that the time of a webhook may be off. */
const MOST_OFF_S = 300;

/** The provider that moves no money; the role `sandbox` is its other side. */
export function sandboxProvider({ url, fetchPeer, apiKey, webhookKey }: SandboxOptions): PaymentProvider {
  const send = async (path: string, request: Parameters<PeerFetch>[1]): Promise<unknown> => {
    const answer = await fetchPeer(`${url()}/v1${path}`, {
      ...request,
      headers: { ...(request.headers as Record<string, string>), authorization: `Bearer ${apiKey}` },
    });
    const text = await answer.text();
    if (answer.ok) return JSON.parse(text);
    throw failureOf(answer.status, text);
  };
  const get = (path: string, signal: AbortSignal) => send(path, { signal });
  const post = (path: string, headers: Readonly<Record<string, string>>, body: unknown, signal: AbortSignal) =>
    send(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
      signal,
    });
  const change = async (path: string, key: string, body: unknown, signal: AbortSignal) =>
    toPayment(await post(path, { "idempotency-key": key }, body, signal));
  const at = (reference: string, what: string) => `/payments/${encodeURIComponent(reference)}/${what}`;
  const minor = (amount: { readonly minor: bigint }) => ({ amount_minor: String(amount.minor) });

  return {
    name: "sandbox",
    keyLifetimeMs: DAY_MS,
    defaultToken: "tok_approved",
    authorize: ({ key, paymentId, orderId, amount, methodToken, returnUrl }, signal) =>
      change(
        "/payments",
        key,
        {
          payment_id: paymentId,
          order_id: orderId,
          ...minor(amount),
          currency: amount.currency,
          method_token: methodToken,
          return_url: returnUrl,
        },
        signal,
      ),
    capture: ({ key, reference, amount }, signal) => change(at(reference, "capture"), key, minor(amount), signal),
    void: ({ key, reference }, signal) => change(at(reference, "void"), key, {}, signal),
    refund: ({ key, reference, amount }, signal) => change(at(reference, "refunds"), key, minor(amount), signal),

    async find({ paymentId }, signal) {
      const [payment] = toPayments(await get(`/payments?payment_id=${encodeURIComponent(paymentId)}`, signal));
      return payment;
    },

    async *listSince(since, signal) {
      let after = "";
      for (;;) {
        const from = `since=${encodeURIComponent(since.toISOString())}`;
        const next = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
        const payments = toPayments(await get(`/payments?${from}${next}`, signal));
        yield* payments;
        if (payments.length < PAGE) return;
        after = payments.at(-1)?.reference ?? "";
      }
    },

    async saveMethod(token, _userId, signal) {
      try {
        return toMethod(token, await post("/methods", {}, { token }, signal));
      } catch (error) {
        if (error instanceof ProviderRefusal && error.code === "not_found") return undefined;
        throw error;
      }
    },

    webhookHeaders: [SIGNATURE],
    parseWebhook(body, headers, now) {
      return isGenuine(webhookKey, body, headers[SIGNATURE] ?? "", now) ? toEvent(body) : undefined;
    },
  };
}

/** Answers that say nothing of whether the call has an effect: wrong access, too many calls, a key that is in use. */
const UNTELLING = new Set([401, 403, 407, 408, 409, 425, 429]);

/** A refusal only where the provider itself says no, in its own words; else the outcome is unknown. */
function failureOf(status: number, text: string): Error {
  const { code, message } = refusalIn(text);
  if (status < 400 || status >= 500 || UNTELLING.has(status) || code === "") {
    return new Error(`the provider answered ${String(status)} ${code}`.trim());
  }
  return new ProviderRefusal(code === "unknown_token" ? METHOD_UNKNOWN : code, message);
}

function refusalIn(text: string): { readonly code: string; readonly message: string } {
  try {
    const error = fieldsOf(fieldsOf(JSON.parse(text))["error"]);
    return { code: textOf(error["code"]), message: textOf(error["message"]) };
  } catch {
    return { code: "", message: "" };
  }
}

const STATES = {
  pending: "pending",
  requires_action: "requires action",
  authorized: "authorized",
  captured: "captured",
  voided: "voided",
  declined: "declined",
} as const satisfies Readonly<Record<string, ProviderPayment["state"]>>;

const REFUND_STATES = { pending: "pending", succeeded: "succeeded", failed: "failed" } as const;

function toPayments(value: unknown): ProviderPayment[] {
  return listOf(fieldsOf(value)["payments"]).map(toPayment);
}

/** @throws Error where it is not what the provider is known to answer */
function toPayment(value: unknown): ProviderPayment {
  const fields = fieldsOf(value);
  return {
    reference: textOf(fields["id"]),
    paymentId: textOf(fields["payment_id"]),
    orderId: textOf(fields["order_id"]),
    state: oneOf(STATES, fields["state"]),
    amount: { currency: textOf(fields["currency"]), minor: minorOf(fields["amount_minor"]) },
    capturedMinor: minorOf(fields["captured_minor"]),
    declineCode: textOf(fields["decline_code"]),
    redirectUrl: textOf(fields["redirect_url"]),
    refunds: listOf(fields["refunds"]).map((refund) => {
      const { key, amount_minor: minor, state, failure_code: failureCode } = fieldsOf(refund);
      return {
        key: textOf(key),
        minor: minorOf(minor),
        state: oneOf(REFUND_STATES, state),
        failureCode: textOf(failureCode),
      };
    }),
  };
}

function toMethod(token: string, value: unknown): ProviderMethod {
  const fields = fieldsOf(value);
  return {
    token,
    brand: textOf(fields["brand"]),
    lastDigits: textOf(fields["last_digits"]),
    expiryMonth: Number(fields["expiry_month"]),
    expiryYear: Number(fields["expiry_year"]),
  };
}

/** Whether the provider signed a webhook, not long ago. */
function isGenuine(key: Buffer, body: Buffer, header: string, now: Date): boolean {
  const { time = "", signature = "" } = /^t=(?<time>\d{1,12}),v1=(?<signature>[\da-f]{64})$/.exec(header)?.groups ?? {};
  if (time === "" || Math.abs(now.getTime() / 1_000 - Number(time)) > MOST_OFF_S) return false;
  const wanted = createHmac("sha256", key).update(`${time}.`).update(body).digest();
  return timingSafeEqual(wanted, Buffer.from(signature, "hex"));
}

function toEvent(body: Buffer): WebhookEvent | undefined {
  try {
    const fields = fieldsOf(JSON.parse(body.toString()));
    const id = textOf(fields["id"]);
    if (id === "") return undefined;
    const type = textOf(fields["type"]);
    const state = new Map<string, ProviderPayment["state"]>(Object.entries(STATES)).get(type.replace(/^payment\./, ""));
    return { id, type, paymentId: textOf(fields["payment_id"]), state };
  } catch {
    return undefined;
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw new TypeError("the provider answered no object");
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError("the provider answered no list");
  return value;
}

function textOf(value: unknown): string {
  if (typeof value !== "string") throw new TypeError("the provider answered no text");
  return value;
}

function minorOf(value: unknown): bigint {
  if (typeof value !== "string" || !/^\d{1,19}$/.test(value)) throw new TypeError("the provider answered no amount");
  return BigInt(value);
}

function oneOf<T extends Readonly<Record<string, string>>>(known: T, value: unknown): T[keyof T] {
  const name = textOf(value);
  if (!Object.hasOwn(known, name)) throw new TypeError(`the provider answered the unknown state ${name}`);
  return known[name] as T[keyof T];
}
