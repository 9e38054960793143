import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Eta } from "eta/core";
import type { OrderParameters, Template, Topic } from "./delivery.ts";
import type { MailLocale } from "./locale.ts";
import { formatMoney } from "./locale.ts";
import { oneLine } from "./written-name.ts";

/** What one mail is made of. */
export interface MailFacts {
  readonly shop: string;
  readonly locale: MailLocale;
  readonly template: Template;
  readonly topic: Topic;
  /** How the user is addressed, as {@link writtenName} has it; may be empty. */
  readonly name: string;
  /** Where the button leads; undefined where there is none. */
  readonly link: string | undefined;
  readonly order: OrderParameters | undefined;
  readonly unsubscribeUrl: string | undefined;
}

export interface ComposedMail {
  readonly subject: string;
  readonly html: string;
  readonly text: string;
}

interface Sum {
  readonly label: string;
  readonly amount: string;
}

/** What the layout shows, all of it plain text: the layout escapes it. */
interface MailView {
  readonly language: string;
  readonly shop: string;
  readonly subject: string;
  readonly preview: string;
  readonly heading: string;
  readonly greeting: string;
  readonly paragraphs: readonly string[];
  readonly order: OrderView | undefined;
  readonly button: { readonly label: string; readonly url: string } | undefined;
  readonly notes: readonly string[];
  readonly linkNote: string;
  readonly footer: string;
  readonly unsubscribe: { readonly label: string; readonly url: string } | undefined;
}

interface OrderView {
  readonly title: string;
  readonly lines: readonly { title: string; options: string; quantity: string; amount: string }[];
  readonly sums: readonly Sum[];
  readonly total: Sum;
  readonly included: readonly Sum[];
}

/** Makes mails of the layout that scripts/mails.ts compiled, which is read once. */
export function createComposer(): (facts: MailFacts) => ComposedMail {
  const eta = new Eta({ autoEscape: true, autoTrim: false, tags: ["{{", "}}"] });
  const layout = eta.compile(readFileSync(join(import.meta.dirname, "templates", "mail.html"), "utf8"));
  return (facts) => {
    const view = viewOf(facts);
    return { subject: view.subject, html: eta.render(layout, view), text: toText(view) };
  };
}

function viewOf({ shop, locale, template, topic, name, link, order, unsubscribeUrl }: MailFacts): MailView {
  const { texts, language } = locale;
  const text = texts.mails[template]({ shop, link, reason: order?.reason ?? "" });
  return {
    language,
    shop,
    subject: oneLine(text.subject),
    preview: text.preview,
    heading: text.heading,
    greeting: texts.greeting(name),
    paragraphs: text.paragraphs,
    order: order && orderView(order, locale),
    button: link === undefined || text.button === "" ? undefined : { label: text.button, url: link },
    notes: text.notes,
    linkNote: texts.linkNote,
    footer: topic === "orders" ? texts.footer.orders(shop) : texts.footer.account(shop),
    unsubscribe: unsubscribeUrl === undefined ? undefined : { label: texts.unsubscribe, url: unsubscribeUrl },
  };
}

function orderView(order: OrderParameters, { formats, texts }: MailLocale): OrderView {
  const sums = summedUp(order.adjustments).map(({ label, amount, included }) => ({
    label: included ? texts.order.included(label) : label,
    amount: formatMoney(formats, amount),
    included,
  }));
  return {
    title: `${texts.order.number} ${order.id}`,
    lines: order.lines.map(({ title, options, quantity, amount }) => ({
      title: oneLine(title),
      options: oneLine(options),
      quantity: new Intl.NumberFormat(formats).format(quantity),
      amount: formatMoney(formats, amount),
    })),
    sums: sums.filter(({ included }) => !included),
    total: { label: texts.order.total, amount: formatMoney(formats, order.total) },
    included: sums.filter(({ included }) => included),
  };
}

/** Adjustments of several lines that say the same, as the tax of each does, are one. */
function summedUp(adjustments: OrderParameters["adjustments"]): OrderParameters["adjustments"] {
  const sums = new Map<string, OrderParameters["adjustments"][number]>();
  for (const { label, amount, included } of adjustments) {
    const line = oneLine(label);
    const key = JSON.stringify([line, included, amount.currency]);
    const minor = BigInt(sums.get(key)?.amount.minor ?? 0) + BigInt(amount.minor);
    sums.set(key, { label: line, included, amount: { currency: amount.currency, minor: String(minor) } });
  }
  return [...sums.values()];
}

function toText({ shop, heading, greeting, paragraphs, order, button, notes, footer, unsubscribe }: MailView): string {
  const sum = ({ label, amount }: Sum) => `${label}: ${amount}`;
  const parts = [
    heading,
    greeting,
    ...paragraphs,
    ...(order
      ? [
          order.title,
          order.lines
            .map(({ quantity, title, options, amount }) => {
              const variant = options === "" ? "" : ` (${options})`;
              return `${quantity} × ${title}${variant}: ${amount}`;
            })
            .join("\n"),
          [...order.sums, order.total, ...order.included].map(sum).join("\n"),
        ]
      : []),
    ...(button ? [`${button.label}:\n${button.url}`] : []),
    ...notes,
    `-- \n${shop}\n${footer}`,
    ...(unsubscribe ? [`${unsubscribe.label}:\n${unsubscribe.url}`] : []),
  ];
  return `${parts.join("\n\n")}\n`;
}
