import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { newId } from "../../src/platform/id.ts";

export type Operation = "authorize" | "capture" | "void" | "refund";

/** What goes wrong with one call. */
export type Fault =
  | "error before"
  | "error after"
  /** Never answered, and nothing done. */
  | "silence before"
  /** Done, and never answered. */
  | "silence after"
  /** Done, and the answer is cut. */
  | "cut after"
  | "garbage after"
  | { readonly refuse: string; readonly status?: number }
  /** Another amount is moved than is asked for. */
  | { readonly moves: bigint }
  | { readonly state: "pending" | "requires_action" | "declined"; readonly code?: string }
  /** Done once this resolves. */
  | { readonly after: Promise<unknown> }
  /** Not answered before this resolves, but done at once. */
  | { readonly answerAfter: Promise<unknown> };

export interface JournalEntry {
  readonly kind: "authorization" | "capture" | "void" | "refund";
  readonly key: string;
  readonly paymentId: string;
  readonly minor: bigint;
}

export interface KnownPayment {
  readonly id: string;
  readonly paymentId: string;
  readonly orderId: string;
  state: "pending" | "requires_action" | "authorized" | "captured" | "voided" | "declined";
  minor: bigint;
  currency: string;
  captured: bigint;
  declineCode: string;
  readonly refunds: { key: string; minor: bigint; state: "pending" | "succeeded" | "failed"; failureCode: string }[];
  readonly at: Date;
}

/** A call that changes something, as it came in. */
export interface ReceivedCall {
  readonly operation: Operation;
  readonly key: string;
  /** The provider's id of the payment; empty where it is to be made. */
  readonly reference: string;
  readonly body: Readonly<Record<string, string>>;
}

/** A payment provider over HTTP, by the contract of the sandbox, whose every call a test can have go wrong. */
export interface ScriptedProvider extends AsyncDisposable {
  /** What the role's `routesUrl` answers. */
  readonly url: string;
  readonly journal: readonly JournalEntry[];
  readonly received: readonly ReceivedCall[];
  readonly payments: ReadonlyMap<string, KnownPayment>;
  /** Calls of the lookup by our id so far. */
  readonly looks: number;
  /** The next calls of an operation for an order end so, one after the other. */
  plan(orderId: string, operation: Operation, ...faults: Fault[]): void;
  /** Chooses the fault of each call that none was told for. */
  choose: ((operation: Operation) => Fault | undefined) | undefined;
  /** While it is set no call is answered: connections are cut. */
  isDown: boolean;
  /** Of a payment of ours. */
  byPaymentId(paymentId: string): KnownPayment | undefined;
  orderOf(call: ReceivedCall): string;
  /** Takes an entry back out of the journal: a refund that failed after all. */
  forget(paymentId: string, kind: JournalEntry["kind"], minor: bigint): void;
  /** A payment that nobody asked for. */
  add(paymentId: string): KnownPayment;
}

/** @param apiKey what callers have to send, asked for with each call. */
export async function startScriptedProvider(apiKey: () => string): Promise<ScriptedProvider> {
  const payments = new Map<string, KnownPayment>();
  const keys = new Map<string, { hash: string; paymentId: string }>();
  const journal: JournalEntry[] = [];
  const received: ReceivedCall[] = [];
  const plans = new Map<string, Fault[]>();

  const server = createServer((request, response) => {
    void handle(request, response).catch((error: unknown) => {
      answer(response, 500, { error: { code: "internal", message: String(error) } });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  const provider: ScriptedProvider = {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/-/sandbox`,
    journal,
    received,
    payments,
    looks: 0,
    choose: undefined,
    isDown: false,
    plan: (orderId, operation, ...told) => void plans.set(`${orderId} ${operation}`, told),
    byPaymentId: (paymentId) => [...payments.values()].find((payment) => payment.paymentId === paymentId),
    orderOf: ({ reference, body }) => body["order_id"] ?? payments.get(reference)?.orderId ?? "",
    forget(paymentId, kind, minor) {
      const at = journal.findIndex((one) => one.paymentId === paymentId && one.kind === kind && one.minor === minor);
      journal.splice(at, 1);
    },
    add(paymentId) {
      const payment = newPayment(paymentId, newId(), "EUR", 100n);
      payments.set(payment.id, payment);
      return payment;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (provider.isDown) return void request.socket.destroy();
    if (request.headers.authorization !== `Bearer ${apiKey()}`) return refuse(response, 401, "unauthenticated");
    const url = new URL(request.url ?? "", "http://host");
    const path = url.pathname.replace("/-/sandbox/v1", "");
    if (request.method === "GET") return read(response, url.searchParams);
    const [, , reference = "", what = ""] = path.split("/");
    const operation = what === "" ? "authorize" : what === "refunds" ? "refund" : (what as Operation);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>;
    if (path === "/methods") {
      if (!body["token"]?.startsWith("tok_")) return refuse(response, 404, "not_found");
      return answer(response, 200, { brand: "visa", last_digits: "4242", expiry_month: 12, expiry_year: 2030 });
    }
    const key = String(request.headers["idempotency-key"]);
    received.push({ operation, reference, key, body });
    await change(request, response, { operation, reference, key, body });
  }

  function read(response: ServerResponse, query: URLSearchParams): void {
    const paymentId = query.get("payment_id");
    if (paymentId !== null) Object.assign(provider, { looks: provider.looks + 1 });
    const since = new Date(query.get("since") ?? 0);
    const found = [...payments.values()].filter((payment) =>
      paymentId === null ? payment.at >= since : payment.paymentId === paymentId,
    );
    const from = found.findIndex(({ id }) => id === query.get("after")) + 1;
    answer(response, 200, { payments: found.slice(from, from + 100).map(toJson) });
  }

  async function change(request: IncomingMessage, response: ServerResponse, call: ReceivedCall): Promise<void> {
    const fault =
      plans.get(`${provider.orderOf(call)} ${call.operation}`)?.shift() ?? provider.choose?.(call.operation);
    if (fault === "error before") return refuse(response, 500, "internal");
    if (fault === "silence before") return;
    if (typeof fault === "object" && "refuse" in fault) return refuse(response, fault.status ?? 402, fault.refuse);
    if (typeof fault === "object" && "after" in fault) await fault.after;
    const done = carryOut(call, fault);
    if (typeof done === "string") return refuse(response, done === "key_reused" ? 409 : 402, done);
    if (fault === "error after") return refuse(response, 500, "internal");
    if (fault === "silence after") return;
    if (fault === "cut after") return void request.socket.destroy();
    if (fault === "garbage after") return void response.writeHead(200).end("<html>all is well</html>");
    if (typeof fault === "object" && "answerAfter" in fault) await fault.answerAfter;
    answer(response, 200, toJson(done));
  }

  /** What was done, or the code of the refusal. One key has one effect. */
  function carryOut(
    { operation, reference, key, body }: ReceivedCall,
    fault: Fault | undefined,
  ): KnownPayment | string {
    const hash = createHash("sha256")
      .update(JSON.stringify([operation, reference, body]))
      .digest("hex");
    const known = keys.get(key);
    if (known && known.hash !== hash) return "key_reused";
    if (known) return provider.byPaymentId(known.paymentId) ?? "gone";
    const asked = BigInt(body["amount_minor"] ?? 0);
    const minor = typeof fault === "object" && "moves" in fault ? fault.moves : asked;
    const payment = operation === "authorize" ? opened(body, minor, fault) : payments.get(reference);
    if (payment === undefined || typeof payment === "string") return payment ?? "not_found";
    if (operation === "capture") {
      if (payment.state !== "authorized") return "not_authorized";
      Object.assign(payment, { state: "captured", captured: minor });
    } else if (operation === "void") {
      if (payment.state !== "authorized" && payment.state !== "requires_action") return "not_authorized";
      payment.state = "voided";
    } else if (operation === "refund") {
      const back = payment.refunds.filter(({ state }) => state !== "failed").reduce((sum, one) => sum + one.minor, 0n);
      if (payment.state !== "captured") return "not_captured";
      if (back + minor > payment.captured) return "amount_too_large";
      const isPending = typeof fault === "object" && "state" in fault && fault.state === "pending";
      payment.refunds.push({ key, minor, state: isPending ? "pending" : "succeeded", failureCode: "" });
    }
    keys.set(key, { hash, paymentId: payment.paymentId });
    const kind = operation === "authorize" ? "authorization" : operation;
    if (payment.state !== "declined") journal.push({ kind, key, paymentId: payment.paymentId, minor });
    return payment;
  }

  function opened(
    body: Readonly<Record<string, string>>,
    minor: bigint,
    fault: Fault | undefined,
  ): KnownPayment | string {
    const token = body["method_token"] ?? "";
    if (!token.startsWith("tok_")) return "unknown_token";
    const payment = newPayment(body["payment_id"] ?? "", body["order_id"] ?? "", body["currency"] ?? "", minor);
    if (typeof fault === "object" && "state" in fault) payment.state = fault.state;
    if (token === "tok_declined") payment.state = "declined";
    if (payment.state === "declined") {
      payment.declineCode = (typeof fault === "object" && "state" in fault && fault.code) || "card_declined";
    }
    payments.set(payment.id, payment);
    return payment;
  }

  return provider;
}

function newPayment(paymentId: string, orderId: string, currency: string, minor: bigint): KnownPayment {
  const [id, at] = [`pay_${newId()}`, new Date()];
  const rest = { captured: 0n, declineCode: "", refunds: [], at };
  return { id, paymentId, orderId, state: "authorized", minor, currency, ...rest };
}

function toJson(payment: KnownPayment) {
  return {
    id: payment.id,
    payment_id: payment.paymentId,
    order_id: payment.orderId,
    state: payment.state,
    amount_minor: String(payment.minor),
    currency: payment.currency,
    captured_minor: String(payment.captured),
    decline_code: payment.declineCode,
    redirect_url: payment.state === "requires_action" ? `http://bank.test/${payment.id}` : "",
    refunds: payment.refunds.map(({ key, minor, state, failureCode }) => ({
      key,
      amount_minor: String(minor),
      state,
      failure_code: failureCode,
    })),
    created_at: payment.at.toISOString(),
  };
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, code: string): void {
  answer(response, status, { error: { code, message: `refused: ${code}` } });
}

/** The signature header of a webhook. */
export function signature(key: Buffer, body: string, at: Date): string {
  const seconds = String(Math.floor(at.getTime() / 1_000));
  return `t=${seconds},v1=${createHmac("sha256", key).update(`${seconds}.${body}`).digest("hex")}`;
}
