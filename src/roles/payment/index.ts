import { PaymentEventSchema } from "#gen/commerce/payment/v1/events_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { serve } from "../../platform/call.ts";
import { str, validator } from "../../platform/config.ts";
import { keepPruning } from "../../platform/keep-pruning.ts";
import type { RoleContext } from "../../platform/role.ts";
import { defineRole } from "../../platform/role.ts";
import { startChecks } from "./check-orders.ts";
import { announcePayments } from "./events.ts";
import { orderPeer } from "./peers.ts";
import type { PaymentProvider } from "./provider.ts";
import type { Reconciler } from "./reconcile-payments.ts";
import { startReconciler } from "./reconcile-payments.ts";
import { paymentRoutes } from "./routes.ts";
import type { PaymentRpcContext } from "./rpc.ts";
import { paymentRpc } from "./rpc.ts";
import { sandboxProvider } from "./sandbox-provider.ts";
import type { PaymentTables } from "./schema.ts";
import type { Patience } from "./send-operation.ts";
import { patience as usual } from "./send-operation.ts";
import { pruneWebhooks } from "./store-webhooks.ts";

/** Milliseconds between runs. */
const PRUNE_EVERY_MS = 3_600_000;
/** Milliseconds that calls of the provider get to end when the process stops. */
const GRACE_MS = 1_000;

/** What stands for the order's id in an address. */
const ORDER_ID = "{order_id}";

const returnUrl = validator<string>((input) => {
  if (input !== "" && !/^https?:$/.test(URL.parse(input)?.protocol ?? "")) {
    throw new Error("must be an http:// or https:// address");
  }
  return input;
});

/** Every provider there is, by its name in the configuration. What one needs is loaded with it. */
const providers = {
  sandbox: ({ routesUrl, fetchPeer, sharedKey }) =>
    Promise.resolve(
      sandboxProvider({
        url: () => routesUrl("sandbox"),
        fetchPeer,
        apiKey: sharedKey("sandbox").toString("hex"),
        webhookKey: sharedKey("sandbox webhooks"),
      }),
    ),
  stripe: async ({ config: { STRIPE_SECRET_KEY: secretKey, STRIPE_WEBHOOK_SECRET: webhookSecret } }) => {
    if (secretKey === "" || webhookSecret === "") {
      throw new Error("PAYMENT_PROVIDER=stripe needs STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET.");
    }
    const { stripeProvider } = await import("./stripe-provider.ts");
    return stripeProvider({ secretKey, webhookSecret });
  },
} as const satisfies Readonly<Record<string, (context: ProviderContext) => Promise<PaymentProvider>>>;

interface ProviderContext extends Pick<RoleContext, "routesUrl" | "fetchPeer" | "sharedKey"> {
  readonly config: { readonly STRIPE_SECRET_KEY: string; readonly STRIPE_WEBHOOK_SECRET: string };
}
type ProviderName = keyof typeof providers;

/** Payments, and the books that prove them. @param patience shorter ones are for tests */
export function paymentRole(patience: Patience = usual) {
  return defineRole({
    config: {
      PAYMENT_PROVIDER: str({
        choices: Object.keys(providers),
        default: "sandbox",
        desc: `The payment provider: ${Object.keys(providers).join(", ")}; the sandbox moves no money`,
      }),
      PAYMENT_RETURN_URL: returnUrl({
        default: "",
        desc: "Where buyers go once they have confirmed a payment; {order_id} is replaced; empty: a page that thanks them",
        example: "https://shop.example.com/orders/{order_id}",
      }),
      STRIPE_SECRET_KEY: str({
        default: "",
        desc: "With PAYMENT_PROVIDER=stripe: the secret key",
        example: "sk_live_…",
      }),
      STRIPE_WEBHOOK_SECRET: str({
        default: "",
        desc: "With PAYMENT_PROVIDER=stripe: what its webhooks to /-/payment/webhooks/stripe are signed with",
        example: "whsec_…",
      }),
    },
    async start(context) {
      const { config, database, outbox, peers, pages, clock, log, tryout, publicUrl } = context;
      const db = database<PaymentTables>();
      const provider = await providers[config.PAYMENT_PROVIDER as ProviderName](context);
      if (provider.name === "sandbox" && !tryout) log.warn("payments are made with the sandbox: no money moves");
      const closing = new AbortController();
      const running: { reconciler?: Reconciler } = {};
      const rpc: PaymentRpcContext = {
        db,
        provider,
        pages,
        clock,
        log,
        patience,
        announce: announcePayments(outbox(PaymentEventSchema)),
        wake: () => running.reconciler?.wake(),
        closing: closing.signal,
        underWay: new Map(),
        returnUrl: (orderId) =>
          (config.PAYMENT_RETURN_URL || `${publicUrl()}/-/payment/returned?order_id=${ORDER_ID}`).replaceAll(
            ORDER_ID,
            orderId,
          ),
      };
      const reconciler = (running.reconciler = startReconciler(rpc));
      const checks = startChecks({ db, provider, orders: orderPeer(peers), log, closing: closing.signal });
      const stopPruning = keepPruning("old webhooks", PRUNE_EVERY_MS, () => pruneWebhooks(db), log);
      return {
        services: [serve(PaymentService, paymentRpc(rpc))],
        routes: paymentRoutes(rpc),
        async close() {
          const timer = setTimeout(() => {
            closing.abort(new Error("the process stops"));
          }, GRACE_MS);
          await Promise.all([reconciler.close(), checks.close(), stopPruning(), ...rpc.underWay.values()]);
          clearTimeout(timer);
        },
      };
    },
  });
}

export default paymentRole();
