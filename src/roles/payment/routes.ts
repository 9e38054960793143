import type { Kysely } from "kysely";
import type { Clock } from "../../platform/clock.ts";
import { afterCommit, transaction } from "../../platform/database.ts";
import { html, smallPage } from "../../platform/html-page.ts";
import type { RawRoute } from "../../platform/raw-routes.ts";
import { isUuid } from "./payment.ts";
import type { PaymentProvider } from "./provider.ts";
import type { PaymentTables } from "./schema.ts";
import { isNews } from "./settlement.ts";
import { lockPayment } from "./store.ts";
import { askForLook } from "./store-looks.ts";
import { hurryOperations } from "./store-operations.ts";
import { insertWebhook } from "./store-webhooks.ts";

export interface RouteContext {
  readonly db: Kysely<PaymentTables>;
  readonly provider: PaymentProvider;
  readonly clock: Clock;
  /** Has the reconciler look at once. */
  readonly wake: () => void;
}

/** The largest webhook, in bytes. */
const MOST_BYTES = 262_144;

/**
 * Where buyers come back to who have confirmed a payment, and where the provider tells what happened. Of a webhook nothing is
 * believed but which payment it is about: that one is looked up. So it does not matter how often it comes, when,
 * or in what order.
 */
export function paymentRoutes({ db, provider, clock, wake }: RouteContext): readonly RawRoute[] {
  return [
    {
      method: "GET",
      path: "/returned",
      maxBytes: 0,
      access: "public",
      // It says nothing of the order: anybody may come here.
      handle: () =>
        Promise.resolve(
          smallPage(200, "Thank you", html`<p>The shop goes on with your order. You can close this page.</p>`),
        ),
    },
    {
      method: "POST",
      path: "/webhooks/:provider",
      maxBytes: MOST_BYTES,
      headers: provider.webhookHeaders,
      access: "public",
      async handle({ params, body, headers }) {
        if (params["provider"] !== provider.name) return { status: 404 };
        const now = clock.now();
        const event = provider.parseWebhook(body, headers, now);
        if (!event) return { status: 401 };
        const paymentId = isUuid(event.paymentId) ? event.paymentId : undefined;
        const { id, type } = event;
        await transaction(db, async (trx) => {
          const isNew = await insertWebhook(trx, { provider: provider.name, id, type, paymentId, now });
          const payment = isNew && paymentId !== undefined && (await lockPayment(trx, { id: paymentId }));
          if (!payment) return;
          // What is open is looked up anyway; but what is on its way may be older than a refund that this tells of.
          const isOpen = await hurryOperations(trx, payment.id);
          if (isOpen ? event.state === undefined : isNews(payment, event.state)) await askForLook(trx, payment.id);
          else if (!isOpen) return;
          afterCommit(trx, wake);
        });
        return { status: 200 };
      },
    },
  ];
}
