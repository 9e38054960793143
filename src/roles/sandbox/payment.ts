/** Where a payment stands at the provider. */
export type PaymentState = "requires_action" | "authorized" | "captured" | "voided" | "declined";

/** Something that a client asks the provider to do. */
export type Operation = "authorize" | "capture" | "void" | "refund";

/** How a test token has the provider behave; what is left out goes well. */
export interface Script {
  /** The authorization ends so. */
  readonly declineCode?: string;
  /** The buyer decides on a page. */
  readonly asksBuyer?: boolean;
  /** Milliseconds before an authorization is made. */
  readonly delayMs?: number;
  /** The operation is done, and its first call is answered with an error 500, or never. */
  readonly loses?: { readonly operation: Operation; readonly as: "error" | "silence" };
  /** Operations that are refused, with the code of the refusal. */
  readonly refuses?: { readonly operation: Operation; readonly code: string };
  /** Milliseconds that a refund is pending. */
  readonly refundMs?: number;
  /** Webhooks come late, twice, before the answer, or never. */
  readonly webhooks?: "late" | "twice" | "early" | "never";
  readonly brand?: string;
  readonly lastDigits?: string;
}

/** What stands for a card here, and how it behaves; docs/payments.md lists them. */
const SCRIPTS: Readonly<Record<string, Script>> = {
  tok_approved: { lastDigits: "4242" },
  tok_declined: { declineCode: "card_declined", lastDigits: "0002" },
  tok_insufficient_funds: { declineCode: "insufficient_funds", lastDigits: "9995" },
  tok_expired_card: { declineCode: "expired_card", lastDigits: "0069" },
  tok_slow: { delayMs: 3_000, lastDigits: "0003" },
  tok_error_after_charge: { loses: { operation: "authorize", as: "error" }, lastDigits: "0119" },
  tok_timeout_after_charge: { loses: { operation: "authorize", as: "silence" }, lastDigits: "0127" },
  tok_requires_action: { asksBuyer: true, lastDigits: "3220" },
  tok_error_after_capture: { loses: { operation: "capture", as: "error" }, lastDigits: "0135" },
  tok_timeout_after_capture: { loses: { operation: "capture", as: "silence" }, lastDigits: "0143" },
  tok_capture_refused: { refuses: { operation: "capture", code: "capture_refused" }, lastDigits: "0341" },
  tok_refund_refused: { refuses: { operation: "refund", code: "refund_refused" }, lastDigits: "5126" },
  tok_refund_pending: { refundMs: 2_000, lastDigits: "7726" },
  tok_webhook_late: { webhooks: "late", lastDigits: "0151" },
  tok_webhook_twice: { webhooks: "twice", lastDigits: "0169" },
  tok_webhook_early: { webhooks: "early", lastDigits: "0177" },
  tok_webhook_never: { webhooks: "never", lastDigits: "0185" },
};

/** The script of a token; undefined where there is no such token. */
export function scriptOf(token: string): Script | undefined {
  return Object.hasOwn(SCRIPTS, token) ? SCRIPTS[token] : undefined;
}

/** Every test token. */
export const testTokens: readonly string[] = Object.keys(SCRIPTS);

/** Where an authorization begins, by its token. */
export function authorized({ declineCode, asksBuyer = false }: Script): PaymentState {
  if (declineCode !== undefined) return "declined";
  return asksBuyer ? "requires_action" : "authorized";
}

/** A payment as far as it decides what may be done with it. */
export interface Standing {
  readonly state: PaymentState;
  readonly amountMinor: bigint;
  readonly capturedMinor: bigint;
  /** Refunds that have not failed. */
  readonly refundedMinor: bigint;
}

/** Why a provider does not do what is asked; undefined where it does. */
export function refusalOf(
  operation: Exclude<Operation, "authorize">,
  { state, amountMinor, capturedMinor, refundedMinor }: Standing,
  minor: bigint,
): string | undefined {
  switch (operation) {
    case "capture":
      if (state !== "authorized") return "not_authorized";
      return minor > 0n && minor <= amountMinor ? undefined : "amount_too_large";
    case "void":
      return state === "authorized" || state === "requires_action" ? undefined : "not_authorized";
    case "refund":
      if (state !== "captured") return "not_captured";
      return minor > 0n && minor <= capturedMinor - refundedMinor ? undefined : "amount_too_large";
  }
}
