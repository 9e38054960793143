import type { Template } from "./delivery.ts";

/** What a text may tell of. */
export interface TextFacts {
  readonly shop: string;
  /** Where the mail's button leads; undefined where it has none. */
  readonly link: string | undefined;
  /** Why an order was rejected or cancelled, in UPPER_SNAKE; empty else. */
  readonly reason: string;
}

/** What one mail says, in plain text; the layout escapes it. */
export interface MailText {
  readonly subject: string;
  /** What a list of mails shows behind the subject. */
  readonly preview: string;
  readonly heading: string;
  readonly paragraphs: readonly string[];
  /** On the button; empty for none. */
  readonly button: string;
  /** In small print below the button. */
  readonly notes: readonly string[];
}

/** All that mails say in one language. */
export interface Texts {
  /** For somebody without a name too. */
  greeting(name: string): string;
  readonly mails: Readonly<Record<Template, (facts: TextFacts) => MailText>>;
  readonly order: {
    readonly number: string;
    readonly total: string;
    /** Of an amount that the prices contain already. */
    included(label: string): string;
  };
  /** Before the link of a button, spelled out. */
  readonly linkNote: string;
  /** Why one gets this mail. */
  readonly footer: {
    account(shop: string): string;
    orders(shop: string): string;
  };
  /** Below mails about orders, the only ones so far that can be turned off. */
  readonly unsubscribe: string;
}
