import { html, smallPage } from "../../platform/html-page.ts";
import type { RawResponse } from "../../platform/raw-routes.ts";
import type { Topic } from "./delivery.ts";
import type { Unsubscription } from "./unsubscribe-token.ts";

const ABOUT: Readonly<Record<Topic, string>> = {
  account: "about your account",
  orders: "about your orders",
  marketing: "with offers and news",
};

/** Asks whether it is meant. */
export function unsubscribePage(shop: string, { topic }: Unsubscription): RawResponse {
  return smallPage(
    200,
    "Stop these mails?",
    html`<p>${shop} will send you no more mails ${ABOUT[topic]}.</p>
      <form method="post"><button>Unsubscribe</button></form>`,
  );
}

export function unsubscribedPage(shop: string, { topic }: Unsubscription): RawResponse {
  return smallPage(
    200,
    "You are unsubscribed",
    html`<p>${shop} sends you no more mails ${ABOUT[topic]}. You can turn them on again in your account.</p>`,
  );
}

export function badLinkPage(shop: string): RawResponse {
  return smallPage(
    400,
    "This link does not work",
    html`<p>It is not complete, or not of ${shop}. Open it from the mail once more; nothing has changed.</p>`,
  );
}
