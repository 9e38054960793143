import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import type { CallOptions } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Status } from "#gen/google/rpc/status_pb.ts";
import { Sessions } from "../../src/platform/clients/sessions.ts";
import { as } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf } from "../support/protocols.ts";

const kinds = [
  "getUser",
  "getProduct",
  "getOrder",
  "listProducts",
  "createOrder",
  "createOrders",
  "watchOrder",
] as const;
type Kind = (typeof kinds)[number];

/** A call, or an order of a stream, that failed at the client. */
export interface Failure {
  readonly kind: string;
  readonly code: string;
  /** Of every ErrorInfo. */
  readonly reasons: readonly string[];
  readonly hasRetryInfo: boolean;
  /** The first cause, where nobody answered. */
  readonly cause: string;
  /** Empty where nobody answered. */
  readonly requestId: string;
}

/** What became of the orders of one CreateOrders stream. */
export interface StreamCount {
  readonly sent: number;
  refused: number;
}

/** Callers that go on until they are stopped, and try again whatever fails until it succeeds. */
export interface Load {
  /** Successes. */
  readonly done: ReadonlyMap<Kind, number>;
  readonly failures: readonly Failure[];
  /** Request ids of the calls whose answer, a success, arrived whole. */
  readonly delivered: ReadonlySet<string>;
  /** By request id. */
  readonly streams: ReadonlyMap<string, StreamCount>;
  /** Ids of the orders that were acknowledged, by idempotency key. */
  readonly acknowledged: ReadonlyMap<string, string>;
  /** Keys answered with a replay: an attempt before had been carried out, and its answer was lost. */
  readonly replayed: readonly string[];
  /** Watches that were opened and have not ended. */
  readonly watching: () => number;
  /** What no client may see: two orders for one key, a gap in a watch. */
  readonly violations: readonly string[];
  /** Resolves when each kind of call has succeeded so many times more. */
  succeeds(times: number): Promise<void>;
  /** Lets each caller finish what it began. Every key that was sent is acknowledged then. */
  stop(): Promise<void>;
}

/** Milliseconds between two calls of one caller, and before another try. */
const PAUSE_MS = 5;
/** Between two calls that place orders: no more than are carried out, on a busy machine too, so that none waits for long. */
const ORDERS_PAUSE_MS = 150;
const RETRY_MS = 20;
/** A call that takes longer has been forgotten by somebody. */
const TIMEOUT_MS = 20_000;
const ORDERS_A_STREAM = 10;
/** How many orders others place while one is watched. */
const WATCHED_FOR = 5;

/** The goods and the buyer of a load. */
export interface Goods {
  readonly userId: string;
  readonly productId: string;
}

const items = [{ sku: "MUG", quantity: 1 }];

export async function addGoods({ users, products, inventory }: Clients): Promise<Goods> {
  const { user } = await users.createUser({ email: `${randomUUID()}@example.com` });
  const { product } = await products.addProduct({
    title: "Mug",
    variants: [{ sku: "MUG", price: { currencyCode: "EUR", amountMinor: 1290n } }],
  });
  await inventory.adjustStock({ sku: "MUG", delta: 1_000_000n });
  return { userId: user?.id ?? "", productId: product?.id ?? "" };
}

type Header = (name: string) => string;

export function startLoad(url: string, { userId, productId }: Goods): Load {
  const done = new Map<Kind, number>(kinds.map((kind) => [kind, 0]));
  const failures: Failure[] = [];
  const delivered = new Set<string>();
  const streams = new Map<string, StreamCount>();
  const acknowledged = new Map<string, string>();
  const replayed: string[] = [];
  const violations: string[] = [];
  const http = () => ({
    baseUrl: url,
    httpVersion: "2" as const,
    sessionManager: new Sessions(url),
    interceptors: [as(url)],
  });
  const grpc = clientsOf(createGrpcTransport(http()));
  const json = clientsOf(createConnectTransport({ ...http(), useBinaryFormat: false }));
  const web = clientsOf(createGrpcWebTransport(http()));
  let latest = "";
  let watching = 0;
  let over = false;

  /** One attempt; undefined where it failed, which is noted. */
  async function attempt<T>(
    kind: string,
    call: (options: CallOptions, header: Header) => Promise<T>,
  ): Promise<{ readonly value: T } | undefined> {
    let headers = new Headers();
    const header = (name: string) => headers.get(name) ?? "";
    const onHeader = (received: Headers) => {
      headers = received;
    };
    try {
      const value = await call({ onHeader, timeoutMs: TIMEOUT_MS }, header);
      delivered.add(header("x-request-id"));
      return { value };
    } catch (error) {
      failures.push(failureOf(kind, error, header("x-request-id")));
      return undefined;
    }
  }

  async function persist<T>(kind: string, call: (options: CallOptions, header: Header) => Promise<T>): Promise<T> {
    for (;;) {
      const answer = await attempt(kind, call);
      if (answer) return answer.value;
      await delay(RETRY_MS);
    }
  }

  function acknowledge(key: string, order: Order | undefined): void {
    const known = acknowledged.get(key);
    const id = order?.id ?? "";
    if (known !== undefined && known !== id) violations.push(`${key}: ${known} and ${id}`);
    acknowledged.set(key, id);
    latest = id;
  }

  async function place({ orders }: Clients, paymentMethodToken = ""): Promise<string> {
    const idempotencyKey = randomUUID();
    const { order } = await persist("createOrder", async (options, header) => {
      const response = await orders.createOrder({ userId, items, paymentMethodToken, idempotencyKey }, options);
      if (header("idempotent-replayed") !== "") replayed.push(idempotencyKey);
      return response;
    });
    acknowledge(idempotencyKey, order);
    return order?.id ?? "";
  }

  async function repeat(kind: Kind, once: () => Promise<unknown>, pauseMs = PAUSE_MS): Promise<void> {
    while (!over) {
      await once();
      done.set(kind, (done.get(kind) ?? 0) + 1);
      await delay(pauseMs);
    }
  }

  async function readLatest(): Promise<void> {
    const id = latest === "" ? await place(json) : latest;
    const { order } = await persist("getOrder", (options) => json.orders.getOrder({ id }, options));
    if (order?.id !== id) violations.push(`read ${String(order?.id)} for ${id}`);
  }

  async function listAll(): Promise<void> {
    const read = await persist("listProducts", async (options) => {
      let count = 0;
      for await (const { products } of web.products.listProducts({ limit: 200n }, options)) count += products.length;
      return count;
    });
    if (read === 0) violations.push("an export without products");
  }

  async function placeMany(): Promise<void> {
    const keys = new Set(Array.from({ length: ORDERS_A_STREAM }, () => randomUUID() as string));
    while (keys.size > 0) {
      const sent = [...keys];
      const requests = sent.map((idempotencyKey, index) => ({
        sequence: index + 1,
        order: { userId, items, idempotencyKey },
      }));
      const count: StreamCount = { sent: sent.length, refused: 0 };
      await attempt("createOrders", async (options, header) => {
        for await (const { sequence, result } of grpc.orders.createOrders(each(requests), options)) {
          streams.set(header("x-request-id"), count);
          const key = sent[sequence - 1] ?? "";
          if (result.case === "order") {
            acknowledge(key, result.value);
            keys.delete(key);
          } else if (result.case === "error") {
            count.refused += 1;
            failures.push(failureOfItem(result.value, header("x-request-id")));
          }
        }
      });
      if (keys.size > 0) await delay(RETRY_MS);
    }
  }

  /** Watches an order that waits for its buyer until others have placed some, cancels it, and reads the watch to its end. */
  async function watchOne(): Promise<void> {
    const id = await place(grpc, "tok_requires_action");
    const before = acknowledged.size;
    const history = watchToItsEnd(id);
    await until(() => over || acknowledged.size >= before + WATCHED_FOR, TIMEOUT_MS * 2);
    await persist("cancelOrder", (options) => json.orders.cancelOrder({ id }, options));
    const seen = await history;
    const steps = seen.split(", ").map((step) => step.split(" "));
    const isGapless = steps.every(([position], index) => position === String(index + 1));
    const isCancelled = steps.at(-1)?.[1] === String(OrderState.CANCELLED);
    if (!isGapless || !isCancelled) violations.push(`watch of ${id}: ${seen}`);
  }

  async function watchToItsEnd(id: string): Promise<string> {
    const seen: string[] = [];
    let afterPosition = 0n;
    watching += 1;
    await persist("watchOrder", async ({ timeoutMs: _none, ...options }) => {
      for await (const { event } of grpc.orders.watchOrder({ id, afterPosition }, options)) {
        seen.push(`${String(event?.position)} ${String(event?.state)}`);
        afterPosition = event?.position ?? 0n;
      }
    });
    watching -= 1;
    return seen.join(", ");
  }

  const finished = Promise.all([
    repeat("getUser", () => persist("getUser", (options) => json.users.getUser({ id: userId }, options))),
    repeat("getProduct", () =>
      persist("getProduct", (options) => grpc.products.getProduct({ id: productId }, options)),
    ),
    repeat("getOrder", readLatest),
    repeat("listProducts", listAll),
    repeat("createOrder", () => place(grpc), ORDERS_PAUSE_MS),
    repeat("createOrder", () => place(json), ORDERS_PAUSE_MS),
    repeat("createOrders", placeMany, ORDERS_PAUSE_MS * ORDERS_A_STREAM),
    repeat("watchOrder", watchOne),
  ]);
  finished.catch(() => undefined);

  return {
    done,
    failures,
    delivered,
    streams,
    acknowledged,
    replayed,
    watching: () => watching,
    violations,
    async succeeds(times) {
      const wanted = kinds.map((kind) => [kind, (done.get(kind) ?? 0) + times] as const);
      const missing = () => wanted.filter(([kind, count]) => (done.get(kind) ?? 0) < count).map(([kind]) => kind);
      const reached = until(() => missing().length === 0, 30_000).catch((cause: unknown) => {
        throw new Error(`no success of ${missing().join(", ")}; ${JSON.stringify(failures.slice(-5))}`, { cause });
      });
      await Promise.race([reached, finished]);
    },
    async stop() {
      over = true;
      await finished;
    },
  };
}

async function* each<T>(all: readonly T[]): AsyncIterable<T> {
  yield* all;
}

function failureOf(kind: string, error: unknown, requestId: string): Failure {
  if (!(error instanceof ConnectError)) throw error;
  return {
    kind,
    code: Code[error.code],
    reasons: error.findDetails(ErrorInfoSchema).map(({ reason }) => reason),
    hasRetryInfo: error.findDetails(RetryInfoSchema).length === 1,
    cause: rootOf(error),
    requestId: error.metadata.get("x-request-id") ?? requestId,
  };
}

function failureOfItem({ code, details, message }: Status, requestId: string): Failure {
  const infos = details.flatMap((detail) => anyUnpack(detail, ErrorInfoSchema) ?? []);
  const retries = details.flatMap((detail) => anyUnpack(detail, RetryInfoSchema) ?? []);
  return {
    kind: "order of a stream",
    code: Code[code] ?? String(code),
    reasons: infos.map(({ reason }) => reason),
    hasRetryInfo: retries.length === 1,
    cause: message,
    requestId,
  };
}

/** The first cause, in words without a port. */
function rootOf(error: Error): string {
  if (error.cause instanceof Error) return rootOf(error.cause);
  return error.message.replace(/127\.0\.0\.1:\d+/, "the port");
}
