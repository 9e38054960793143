import { defineRole } from "../../platform/role.ts";
import { settleRefunds } from "./change-payment.ts";
import { sandboxRoutes } from "./routes.ts";
import type { SandboxTables } from "./schema.ts";
import type { WebhookContext } from "./send-webhooks.ts";
import { sendDue, startWebhooks } from "./send-webhooks.ts";

/**
 * A payment provider for trying out: over HTTP, with books of its own, as real ones are, and cards that go wrong in every
 * way they can. It moves no money. A shop that takes any does not run it.
 */
export default defineRole({
  config: {},
  start({ database, clock, log, publicUrl, routesUrl, sharedKey }) {
    const db = database<SandboxTables>();
    const webhooks: WebhookContext = {
      db,
      url: () => `${routesUrl("payment")}/webhooks/sandbox`,
      key: sharedKey("sandbox webhooks"),
      log,
      settle: () => settleRefunds({ db, clock }),
    };
    const worker = startWebhooks(webhooks);
    const routes = sandboxRoutes({
      db,
      clock,
      apiKey: sharedKey("sandbox").toString("hex"),
      pagesUrl: () => `${publicUrl()}/-/sandbox`,
      wake: () => {
        worker.wake();
      },
      tellNow: (paymentId) => sendDue(webhooks, paymentId),
    });
    return { services: [], routes, close: () => worker.close() };
  },
});
