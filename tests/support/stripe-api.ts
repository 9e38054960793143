import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** A call as it came. */
export interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly form: URLSearchParams;
  readonly key: string | undefined;
}

interface Intent {
  readonly id: string;
  readonly object: "payment_intent";
  amount: number;
  currency: string;
  amount_received: number;
  status: string;
  metadata: Record<string, string>;
  last_payment_error: unknown;
  next_action: unknown;
}

/** Answers as Stripe documents it, for the cases of the adapter: a stand-in on loopback, never Stripe. */
export interface StripeApi extends AsyncDisposable {
  readonly port: number;
  readonly calls: readonly ApiCall[];
  /** Answers the next call that changes something with this instead, after it took effect where `late` says so. */
  failNext(status: number, error: object, late?: boolean): void;
}

const methods: Readonly<Record<string, (intent: Intent) => void>> = {
  pm_card_visa: (intent) => (intent.status = "requires_capture"),
  pm_card_mastercard: (intent) => (intent.status = "requires_capture"),
  pm_card_chargeDeclinedInsufficientFunds: (intent) => (intent.status = "requires_payment_method"),
  pm_card_threeDSecure2Required: (intent) => {
    intent.status = "requires_action";
    intent.next_action = { type: "redirect_to_url", redirect_to_url: { url: "https://hooks.stripe.test/3ds" } };
  },
};

export async function startStripeApi(): Promise<StripeApi> {
  const calls: ApiCall[] = [];
  const intents = new Map<string, Intent>();
  const customers = new Map<string, string>();
  const refunds: { id: string; payment_intent: string; amount: number; status: string; metadata: object }[] = [];
  const replays = new Map<string, { status: number; body: unknown }>();
  let failure: { status: number; error: object; late: boolean } | undefined;

  const invalid = (code: string, param?: string) => ({
    status: 400,
    body: { error: { type: "invalid_request_error", code, param, message: code } },
  });
  const ok = (body: unknown) => ({ status: 200, body });
  const list = (data: unknown[]) => ok({ object: "list", data, has_more: false, url: "/v1/x" });

  const expanded = (id?: string) =>
    id === undefined ? null : { id, object: "customer", metadata: { user_id: id.slice("cus_".length) } };

  function create(form: URLSearchParams) {
    const token = form.get("payment_method") ?? "";
    const intent: Intent = {
      id: `pi_${String(intents.size + 1)}`,
      object: "payment_intent",
      amount: Number(form.get("amount")),
      currency: form.get("currency") ?? "",
      amount_received: 0,
      status: "requires_payment_method",
      metadata: metadataOf(form),
      last_payment_error: null,
      next_action: null,
    };
    if (token === "pm_card_chargeDeclinedInsufficientFunds") {
      const error = { type: "card_error", code: "card_declined", decline_code: "insufficient_funds", message: "No." };
      intent.last_payment_error = error;
      intents.set(intent.id, intent);
      return { status: 402, body: { error: { ...error, payment_intent: intent } } };
    }
    const confirm = methods[token];
    if (!confirm) return invalid("resource_missing", "payment_method");
    const customer = customers.get(token) ?? null;
    if (customer !== form.get("customer")) return invalid("payment_method_customer_mismatch", "customer");
    confirm(intent);
    intents.set(intent.id, intent);
    return ok(intent);
  }

  function answer({ method, path, form }: ApiCall): { status: number; body: unknown } {
    const [, , resource, id = "", action] = path.split(/[/?]/);
    if (resource === "customers") {
      const userId = form.get("metadata[user_id]") ?? "";
      return ok({ id: `cus_${userId}`, object: "customer", metadata: { user_id: userId } });
    }
    if (resource === "payment_methods") {
      if (!methods[id]) {
        const error = { type: "invalid_request_error", code: "resource_missing", message: "none" };
        return { status: 404, body: { error } };
      }
      if (action === "attach") customers.set(id, form.get("customer") ?? "");
      const card = { brand: "visa", last4: "4242", exp_month: 4, exp_year: 2034 };
      return ok({ id, type: "card", card, customer: expanded(customers.get(id)) });
    }
    if (resource === "refunds") {
      if (method === "GET") return list(refunds.filter((each) => each.payment_intent === form.get("payment_intent")));
      const made = {
        id: `re_${String(refunds.length + 1)}`,
        payment_intent: form.get("payment_intent") ?? "",
        amount: Number(form.get("amount")),
        status: "succeeded",
        metadata: metadataOf(form),
      };
      refunds.push(made);
      return ok(made);
    }
    if (id === "search") {
      const wanted = /:"([^"]+)"/.exec(form.get("query") ?? "")?.[1];
      return list([...intents.values()].filter(({ metadata }) => metadata["payment_id"] === wanted));
    }
    if (id === "") return method === "POST" ? create(form) : list([...intents.values()]);
    const intent = intents.get(id);
    if (!intent) return invalid("resource_missing", "intent");
    if (action === "capture") {
      if (intent.status !== "requires_capture") return invalid("payment_intent_unexpected_state");
      intent.status = "succeeded";
      intent.amount_received = Number(form.get("amount_to_capture"));
    }
    if (action === "cancel") {
      if (intent.status === "succeeded") return invalid("payment_intent_unexpected_state");
      intent.status = "canceled";
    }
    return ok(intent);
  }

  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const url = new URL(request.url ?? "", "http://stripe.test");
      const key = request.headers["idempotency-key"]?.toString();
      const text = request.method === "GET" ? url.search : Buffer.concat(parts).toString();
      const call = { method: request.method ?? "", path: url.pathname, form: new URLSearchParams(text), key };
      calls.push(call);
      const failing = call.method === "POST" ? failure : undefined;
      if (failing) failure = undefined;
      const known = key === undefined ? undefined : replays.get(key);
      let done = known;
      if (!done && (!failing || failing.late)) done = answer(call);
      if (done && key !== undefined) replays.set(key, done);
      const { status, body } = failing ? { status: failing.status, body: { error: failing.error } } : (done ?? ok({}));
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    failNext(status, error, late = false) {
      failure = { status, error, late };
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function metadataOf(form: URLSearchParams): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of form) {
    const key = /^metadata\[(\w+)\]$/.exec(name)?.[1];
    if (key !== undefined) found[key] = value;
  }
  return found;
}
