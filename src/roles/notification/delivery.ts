/** By which way something is told. */
export type Channel = "email" | "sms" | "push";

/** What it is about. */
export type Topic = "account" | "orders" | "marketing";

export type DeliveryState = "pending" | "sent" | "failed" | "suppressed";

/** What the link of a mail is for. */
export type LinkPurpose = "confirm email" | "reset password";

interface TemplateRule {
  readonly topic: Topic;
  /** The mail's link needs a token for this. */
  readonly link?: LinkPurpose;
  /** Milliseconds after the event when nobody wants it any more; {@link STALE_MS} where it says nothing. */
  readonly staleAfterMs?: number;
}

const HOUR_MS = 3_600_000;
/** After a week, for example without a mail server, an old mail is worse than none. */
const STALE_MS = 7 * 24 * HOUR_MS;

/** Every text there is, with what sending it takes. */
export const templates = {
  welcome: { topic: "account", link: "confirm email" },
  "confirm-email": { topic: "account", link: "confirm email" },
  // Who asked has asked again, or gone.
  "reset-password": { topic: "account", link: "reset password", staleAfterMs: HOUR_MS },
  "login-added": { topic: "account" },
  "password-changed": { topic: "account" },
  "order-placed": { topic: "orders" },
  "order-confirmed": { topic: "orders" },
  "order-fulfilled": { topic: "orders" },
  "order-rejected": { topic: "orders" },
  "order-cancelled": { topic: "orders" },
} as const satisfies Readonly<Record<string, TemplateRule>>;

export type Template = keyof typeof templates;

export function ruleOf(template: Template): Required<Omit<TemplateRule, "link">> & Pick<TemplateRule, "link"> {
  return { staleAfterMs: STALE_MS, ...templates[template] };
}

/** An amount as it is kept with a delivery: minor units as text. */
export interface StoredMoney {
  readonly currency: string;
  readonly minor: string;
}

/** What a mail about an order shows of it. */
export interface OrderParameters {
  readonly id: string;
  readonly lines: readonly {
    readonly title: string;
    /** What tells the variant apart, for example `L, blue`. */
    readonly options: string;
    readonly quantity: number;
    readonly amount: StoredMoney;
  }[];
  readonly adjustments: readonly {
    readonly label: string;
    readonly amount: StoredMoney;
    /** Shown, not added. */
    readonly included: boolean;
  }[];
  readonly total: StoredMoney;
  /** Why it was rejected or cancelled, in UPPER_SNAKE; empty else. */
  readonly reason: string;
}

/** What a mail needs beside its recipient, as of the event. */
export interface MailParameters {
  readonly order?: OrderParameters;
}

const FIRST_WAIT_MS = 10_000;
const LONGEST_WAIT_MS = HOUR_MS;
/** With these waits a little more than a day. */
export const MOST_ATTEMPTS = 32;

/** Milliseconds from an attempt that failed for now to the next; undefined where it was the last. */
export function waitAfter(attempts: number): number | undefined {
  if (attempts >= MOST_ATTEMPTS) return undefined;
  return Math.min(FIRST_WAIT_MS * 2 ** Math.max(0, attempts - 1), LONGEST_WAIT_MS);
}

export const CHANNELS: readonly Channel[] = ["email", "sms", "push"];
export const TOPICS: readonly Topic[] = ["account", "orders", "marketing"];

/** Whether a user is told of a topic who never said so. */
export function isOnUnlessSaid(topic: Topic): boolean {
  return topic !== "marketing";
}

/** Whether a user may turn it off: an account cannot do without its mails. */
export function canBeTurnedOff(topic: Topic): boolean {
  return topic !== "account";
}
