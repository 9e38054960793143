import { html, smallPage } from "../../platform/html-page.ts";
import { moneyText } from "../../platform/money.ts";
import type { RawResponse } from "../../platform/raw-routes.ts";
import type { SandboxPayment } from "./store.ts";

/** Where the buyer says yes or no, as on the page of a bank. */
export function actionPage(payment: SandboxPayment): RawResponse {
  const amount = moneyText({ currency: payment.currency, minor: payment.amount_minor });
  return smallPage(
    200,
    "Confirm your payment",
    html`<p>This page stands for the one of a bank. Nobody is charged: the shop takes its payments in a sandbox.</p>
      <dl>
        <dt>Amount</dt><dd>${amount}</dd>
        <dt>Order</dt><dd>${payment.order_id}</dd>
      </dl>
      <form method="post">
        <button name="decision" value="approve" autofocus>Approve ${amount}</button>
        <button name="decision" value="decline" class="second">Decline</button>
      </form>`,
    // A browser holds its answer, too, to where the form may lead.
    { formLeadsTo: URL.parse(payment.return_url)?.origin ?? "" },
  );
}

/** There is nothing to decide any more. */
export function decidedPage(payment: SandboxPayment): RawResponse {
  const words = { authorized: "approved", captured: "paid", voided: "cancelled", declined: "declined" } as const;
  const word = payment.state === "requires_action" ? "open" : words[payment.state];
  return smallPage(
    200,
    `This payment is ${word}`,
    html`<p>There is nothing left to confirm. You can go back to the shop.</p>`,
  );
}

export function missingPage(): RawResponse {
  return smallPage(404, "There is no such payment", html`<p>The address is not complete, or of another shop.</p>`);
}
