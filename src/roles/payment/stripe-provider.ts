import Stripe from "stripe";
import type { Money } from "../../platform/money.ts";
import type { ProviderMethod, PaymentProvider, ProviderPayment, ProviderRefund, WebhookEvent } from "./provider.ts";
import { METHOD_UNKNOWN, ProviderRefusal } from "./provider.ts";

export interface StripeOptions {
  readonly secretKey: string;
  /** Of the endpoint that Stripe sends webhooks to, `whsec_…`. */
  readonly webhookSecret: string;
  /** Where its API is; Stripe's own where it is left out. */
  readonly api?: { readonly host: string; readonly port: number; readonly protocol: "http" | "https" };
}

const DAY_MS = 86_400_000;
const SIGNATURE = "stripe-signature";
/** Seconds that the time of a webhook may be off. */
const MOST_OFF_S = 300;
/** Milliseconds after which the library gives up a call; callers mostly do earlier. */
const TIMEOUT_MS = 20_000;

/**
 * PaymentIntents with manual capture. Keys are Stripe's idempotency keys, which last a day; our ids are in the metadata. The
 * search for metadata lags behind by up to a minute or so: not found is no proof, and a call sent again with its key is safe.
 */
export function stripeProvider({ secretKey, webhookSecret, api }: StripeOptions): PaymentProvider {
  // The caller decides what is sent again, and when.
  const stripe = new Stripe(secretKey, { maxNetworkRetries: 0, timeout: TIMEOUT_MS, telemetry: false, ...api });

  const withRefunds = async (intent: Stripe.PaymentIntent): Promise<ProviderPayment> => {
    if (intent.amount_received === 0) return toPayment(intent, []);
    const refunds: Stripe.Refund[] = [];
    for await (const refund of stripe.refunds.list({ payment_intent: intent.id, limit: 100 })) refunds.push(refund);
    return toPayment(intent, refunds);
  };

  /** A method, and who it is attached to. @returns undefined where there is none, or it is another user's */
  const methodFor = async (token: string, userId: string) => {
    const method = await stripe.paymentMethods.retrieve(token, { expand: ["customer"] }).catch(missing);
    if (!method?.customer) return method && { method, customer: undefined };
    const { customer } = method;
    const owner = typeof customer === "string" || customer.deleted ? undefined : customer.metadata["user_id"];
    return owner === userId && typeof customer !== "string" ? { method, customer: customer.id } : undefined;
  };

  return {
    name: "stripe",
    keyLifetimeMs: DAY_MS,
    defaultToken: undefined,

    authorize: ({ key, paymentId, orderId, userId, amount, methodToken, returnUrl }, signal) =>
      heard(signal, async () => {
        const found = await methodFor(methodToken, userId);
        if (!found) throw new ProviderRefusal(METHOD_UNKNOWN, "There is no such payment method.");
        // Whoever waited for this has gone: what was not sent is not sent any more.
        signal.throwIfAborted();
        const create = stripe.paymentIntents.create(
          {
            amount: toUnits(amount),
            currency: amount.currency.toLowerCase(),
            capture_method: "manual",
            confirm: true,
            payment_method: methodToken,
            ...(found.customer !== undefined && { customer: found.customer }),
            allowed_payment_method_types: ["card"],
            return_url: returnUrl,
            metadata: { payment_id: paymentId, order_id: orderId },
          },
          { idempotencyKey: key },
        );
        return toPayment(await create.catch(declinedIntent), []);
      }),

    capture: ({ key, reference, amount }, signal) =>
      heard(signal, async () =>
        withRefunds(
          await stripe.paymentIntents.capture(
            reference,
            { amount_to_capture: toUnits(amount) },
            { idempotencyKey: key },
          ),
        ),
      ),

    void: ({ key, reference }, signal) =>
      heard(signal, async () =>
        toPayment(await stripe.paymentIntents.cancel(reference, {}, { idempotencyKey: key }), []),
      ),

    refund: ({ key, reference, amount }, signal) =>
      heard(signal, async () => {
        const intent = await stripe.paymentIntents.retrieve(reference);
        const paymentId = intent.metadata["payment_id"] ?? "";
        await stripe.refunds.create(
          { payment_intent: reference, amount: toUnits(amount), metadata: { key, payment_id: paymentId } },
          { idempotencyKey: key },
        );
        return withRefunds(intent);
      }),

    find: ({ paymentId, reference }, signal) =>
      heard(signal, async () => {
        if (reference !== "") return withRefunds(await stripe.paymentIntents.retrieve(reference));
        const query = `metadata["payment_id"]:"${paymentId}"`;
        const [intent] = (await stripe.paymentIntents.search({ query, limit: 1 })).data;
        return intent && withRefunds(intent);
      }),

    async *listSince(since, signal) {
      const created = { gte: Math.floor(since.getTime() / 1_000) };
      for await (const intent of stripe.paymentIntents.list({ created, limit: 100 })) {
        signal.throwIfAborted();
        yield toPayment(intent, []);
      }
    },

    saveMethod: (token, userId, signal) =>
      heard(signal, async () => {
        const found = await methodFor(token, userId);
        if (!found || found.customer !== undefined) return found && toMethod(found.method);
        // Unattached, it pays once only. A customer for each: two of one user hurt nobody.
        const { id } = found.method;
        const key = { idempotencyKey: `customer-${id}` };
        const customer = await stripe.customers.create({ metadata: { user_id: userId } }, key);
        return toMethod(await stripe.paymentMethods.attach(id, { customer: customer.id }));
      }),

    webhookHeaders: [SIGNATURE],
    parseWebhook(body, headers, now) {
      try {
        const signature = headers[SIGNATURE] ?? "";
        return toEvent(
          stripe.webhooks.constructEvent(
            body,
            signature,
            webhookSecret,
            MOST_OFF_S,
            undefined,
            now.getTime(),
          ) as Stripe.Event,
        );
      } catch (error) {
        if (error instanceof Stripe.errors.StripeSignatureVerificationError || error instanceof SyntaxError)
          return undefined;
        throw error;
      }
    },
  };
}

/** Makes a call that gives up when the signal aborts: what becomes of it then is not known. */
async function heard<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => {
    reject(signal.reason as Error);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, call().catch(rethrown)]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** A refusal where Stripe says that the request is at fault; of anything else the outcome is unknown. */
function rethrown(error: unknown): never {
  const { errors } = Stripe;
  const isRefusal = error instanceof errors.StripeCardError || error instanceof errors.StripeInvalidRequestError;
  const isFinal = isRefusal && error.statusCode !== 409 && error.statusCode !== 429;
  if (!isFinal) throw error;
  const isMethod = error.code === "resource_missing" && error.param === "payment_method";
  throw new ProviderRefusal(isMethod ? METHOD_UNKNOWN : (error.decline_code ?? error.code ?? "refused"), error.message);
}

/** @returns undefined where there is no such thing */
function missing(error: unknown): undefined {
  const isMissing = error instanceof Stripe.errors.StripeInvalidRequestError && error.code === "resource_missing";
  if (!isMissing) throw error;
}

/** A decline is an error of the library, with the intent that it is about. */
function declinedIntent(error: unknown): Stripe.PaymentIntent {
  if (error instanceof Stripe.errors.StripeCardError) {
    const intent = (error.raw as { readonly payment_intent?: Stripe.PaymentIntent } | undefined)?.payment_intent;
    if (intent) return intent;
  }
  throw error;
}

/** Currencies that Stripe writes with other decimals than ISO 4217: by how much an amount is multiplied. */
const ODD: ReadonlyMap<string, number> = new Map([
  ["ISK", 100],
  ["UGX", 100],
  ["MGA", 0.01],
]);

/** @throws ProviderRefusal where Stripe cannot say the amount */
function toUnits({ currency, minor }: Money): number {
  const units = Number(minor) * (ODD.get(currency) ?? 1);
  if (!Number.isSafeInteger(units)) throw new ProviderRefusal("amount_not_supported", "Stripe has no such amount.");
  return units;
}

function toMinor(currency: string, units: number): bigint {
  return BigInt(Math.round(units / (ODD.get(currency) ?? 1)));
}

function toPayment(intent: Stripe.PaymentIntent, refunds: readonly Stripe.Refund[]): ProviderPayment {
  const currency = intent.currency.toUpperCase();
  const failure = intent.last_payment_error;
  return {
    reference: intent.id,
    paymentId: intent.metadata["payment_id"] ?? "",
    orderId: intent.metadata["order_id"] ?? "",
    state: stateOf(intent),
    amount: { currency, minor: toMinor(currency, intent.amount) },
    capturedMinor: toMinor(currency, intent.amount_received),
    declineCode: failure?.decline_code ?? failure?.code ?? "",
    redirectUrl: intent.next_action?.redirect_to_url?.url ?? "",
    refunds: refunds.map((refund) => toRefund(currency, refund)),
  };
}

function stateOf({ status, last_payment_error: failure }: Stripe.PaymentIntent): ProviderPayment["state"] {
  switch (status) {
    case "requires_capture":
      return "authorized";
    case "succeeded":
      return "captured";
    case "canceled":
      return "voided";
    case "requires_action":
      return "requires action";
    case "requires_payment_method":
      return failure ? "declined" : "pending";
    default:
      return "pending";
  }
}

function toRefund(
  currency: string,
  { metadata, amount, status, failure_reason: reason }: Stripe.Refund,
): ProviderRefund {
  const state =
    status === "succeeded" ? "succeeded" : status === "failed" || status === "canceled" ? "failed" : "pending";
  return {
    key: metadata?.["key"] ?? "",
    minor: toMinor(currency, amount),
    state,
    failureCode: state === "failed" ? (reason ?? status ?? "") : "",
  };
}

function toMethod({ id, type, card }: Stripe.PaymentMethod): ProviderMethod {
  return {
    token: id,
    brand: card?.brand ?? type,
    lastDigits: card?.last4 ?? "",
    expiryMonth: card?.exp_month ?? 0,
    expiryYear: card?.exp_year ?? 0,
  };
}

/** Intents, charges and refunds of ours have our id in their metadata. */
function toEvent({ id, type, data }: Stripe.Event): WebhookEvent {
  const { metadata } = data.object as { readonly metadata?: Readonly<Record<string, string>> | null };
  return { id, type, paymentId: metadata?.["payment_id"] ?? "", state: TOLD.get(type) };
}

/** What events say of an intent. */
const TOLD: ReadonlyMap<string, ProviderPayment["state"]> = new Map([
  ["payment_intent.created", "pending"],
  ["payment_intent.processing", "pending"],
  ["payment_intent.requires_action", "requires action"],
  ["payment_intent.amount_capturable_updated", "authorized"],
  ["payment_intent.succeeded", "captured"],
  ["payment_intent.canceled", "voided"],
  ["payment_intent.payment_failed", "declined"],
  ["charge.succeeded", "authorized"],
  ["charge.captured", "captured"],
  ["charge.updated", "captured"],
  ["charge.failed", "declined"],
]);
