import { keepPruning } from "../../platform/keep-pruning.ts";
import { defineRole } from "../../platform/role.ts";
import { settleRefunds } from "./change-payment.ts";
import { sandboxRoutes } from "./routes.ts";
import type { SandboxTables } from "./schema.ts";
import type { WebhookContext } from "./send-webhooks.ts";
import { sendDue, startWebhooks } from "./send-webhooks.ts";
import { pruneWebhooks } from "./store.ts";

/** Milliseconds between runs. */
const PRUNE_EVERY_MS = 3_600_000;

/**
 * A payment provider for trying out: over HTTP, with books of its own, as real ones are, and cards that go wrong in every
 * way they can. It moves no money. A shop that takes any does not run it.
 */
export default defineRole({
  config: {},
  start({ database, clock, log, publicUrl, routesUrl, fetchPeer, sharedKey }) {
    const db = database<SandboxTables>();
    const webhooks: WebhookContext = {
      db,
      url: () => `${routesUrl("payment")}/webhooks/sandbox`,
      fetchPeer,
      key: sharedKey("sandbox webhooks"),
      log,
      settle: () => settleRefunds({ db, clock }),
    };
    const worker = startWebhooks(webhooks);
    const stopPruning = keepPruning("delivered webhooks", PRUNE_EVERY_MS, () => pruneWebhooks(db), log);
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
    return {
      services: [],
      routes,
      async close() {
        await Promise.all([worker.close(), stopPruning()]);
      },
    };
  },
});
