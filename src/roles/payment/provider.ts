import type { Money } from "../../platform/money.ts";

/**
 * A payment provider outside. Each change carries a key, and has one effect per key for as long as the provider
 * remembers it. What a call throws is a {@link ProviderRefusal}, which had no effect; anything else leaves the outcome
 * unknown: look it up with `find`.
 */
export interface PaymentProvider {
  /** For example `sandbox`. */
  readonly name: string;
  /** What pays where nothing else is said; undefined where something has to be. */
  readonly defaultToken: string | undefined;
  /** Milliseconds for which a key counts; a call is never sent again after that. */
  readonly keyLifetimeMs: number;
  /** Holds an amount. */
  authorize(request: AuthorizeRequest, signal: AbortSignal): Promise<ProviderPayment>;
  /** Takes what is held; once per payment. */
  capture(request: ChangeRequest & { readonly amount: Money }, signal: AbortSignal): Promise<ProviderPayment>;
  /** Gives back what is held. */
  void(request: ChangeRequest, signal: AbortSignal): Promise<ProviderPayment>;
  /** Pays back a part of what was taken, or all. */
  refund(request: ChangeRequest & { readonly amount: Money }, signal: AbortSignal): Promise<ProviderPayment>;
  /** What the provider knows of a payment of ours; undefined where it knows none. */
  find(known: KnownIds, signal: AbortSignal): Promise<ProviderPayment | undefined>;
  /** The payments that the provider has recorded since then, oldest first; for those that nobody here knows of. */
  listSince(since: Date, signal: AbortSignal): AsyncIterable<ProviderPayment>;
  /**
   * Lets a user of ours pay with a token again and again; undefined where the provider knows none, or it
   * is another's. Repeatable.
   */
  saveMethod(token: string, userId: string, signal: AbortSignal): Promise<ProviderMethod | undefined>;
  /** The headers, in lower case, that {@link parseWebhook} needs. */
  readonly webhookHeaders: readonly string[];
  /** What a webhook is about, by its raw body; undefined where it is not genuine. Its amounts are not looked at. */
  parseWebhook(body: Buffer, headers: Readonly<Record<string, string>>, now: Date): WebhookEvent | undefined;
}

/** By what a payment is looked up. */
export interface KnownIds {
  /** Ours. */
  readonly paymentId: string;
  /** The provider's; empty where it told none. */
  readonly reference: string;
}

export interface AuthorizeRequest {
  readonly key: string;
  readonly paymentId: string;
  readonly orderId: string;
  /** Whose order it is: nobody pays with what another has saved. */
  readonly userId: string;
  readonly amount: Money;
  readonly methodToken: string;
  /** Where the buyer goes after an action. */
  readonly returnUrl: string;
}

export interface ChangeRequest {
  readonly key: string;
  /** The provider's id of the payment. */
  readonly reference: string;
}

/** A payment as the provider sees it. */
export interface ProviderPayment {
  /** The provider's id. */
  readonly reference: string;
  /** Ours; empty where it is none of ours. */
  readonly paymentId: string;
  readonly orderId: string;
  readonly state: "pending" | "requires action" | "authorized" | "captured" | "voided" | "declined";
  readonly amount: Money;
  readonly capturedMinor: bigint;
  /** With `declined`. */
  readonly declineCode: string;
  /** With `requires action`. */
  readonly redirectUrl: string;
  /** By the keys of the calls that asked for them. */
  readonly refunds: readonly ProviderRefund[];
}

export interface ProviderRefund {
  readonly key: string;
  readonly minor: bigint;
  readonly state: "pending" | "succeeded" | "failed";
  /** With `failed`. */
  readonly failureCode: string;
}

export interface ProviderMethod {
  /** What pays from now on. */
  readonly token: string;
  readonly brand: string;
  readonly lastDigits: string;
  readonly expiryMonth: number;
  readonly expiryYear: number;
}

export interface WebhookEvent {
  /** The provider's id of it, by which it is known again. */
  readonly id: string;
  readonly type: string;
  /** Our id of the payment; empty where it is about none. */
  readonly paymentId: string;
  /** Where it says that the payment stands; undefined where it says something else. Not believed: it only spares looks. */
  readonly state: ProviderPayment["state"] | undefined;
}

/** The provider said no, and nothing happened. */
export class ProviderRefusal extends Error {
  override readonly name = "ProviderRefusal";
  /** For example `insufficient_funds`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The code of a refusal, whatever the provider calls it, that says that there is no such token. */
export const METHOD_UNKNOWN = "method_unknown";
