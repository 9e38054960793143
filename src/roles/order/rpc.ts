import { create, toBinary } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type {
  BatchCreateOrdersResult,
  CreateOrderRequest,
  CreateOrderResponse,
  OrderService,
} from "#gen/commerce/order/v1/order_pb.ts";
import {
  CancelOrderRequestSchema,
  CancelOrderResponseSchema,
  CreateOrderRequestSchema,
  CreateOrderResponseSchema,
  DeliverOrderRequestSchema,
  DeliverOrderResponseSchema,
  FulfilOrderRequestSchema,
  FulfilOrderResponseSchema,
  ListOrdersRequestSchema,
  OrderSchema,
  RefundOrderRequestSchema,
  RefundOrderResponseSchema,
  WaitFor,
} from "#gen/commerce/order/v1/order_pb.ts";
import type { Call, Handlers } from "../../platform/call.ts";
import { errors, invalidRequest, notFound } from "../../platform/errors.ts";
import type { Outcome } from "../../platform/idempotency.ts";
import { answer, claimOf, createCoalescer, createOnce, findReplay } from "../../platform/idempotency.ts";
import type { PageTokens } from "../../platform/page.ts";
import { checkActsFor } from "../../platform/rules/access.ts";
import { toAppError } from "../../platform/rules/errors.ts";
import { createMessageCheck } from "../../platform/rules/validate.ts";
import { mapConcurrently } from "../../platform/streams.ts";
import { toStatus } from "../../platform/wire.ts";
import { cancelOrder } from "./cancel-order.ts";
import type { ChangeContext } from "./fulfil-order.ts";
import { deliverOrder, fulfilOrder } from "./fulfil-order.ts";
import type { Order } from "./order.ts";
import { isSettled } from "./order.ts";
import type { PlaceOrderContext } from "./place-order.ts";
import { placeOrder } from "./place-order.ts";
import { refundOrder } from "./refund-order.ts";
import { eventToProto, orderToProto, refundToProto } from "./rpc-messages.ts";
import { ownerOf, parseDraft, parseRefund, stateNames } from "./rpc-requests.ts";
import { findOrder, listEvents, listOrders, listOrdersById } from "./store.ts";
import type { WatchContext } from "./watch-order.ts";
import { waitUntil, watchOrder } from "./watch-order.ts";

/** Orders of one stream or batch that are at work at the same time. */
const CONCURRENT_ORDERS = 32;
/** Orders that one stream carries: it remembers their sequences. */
const ORDERS_PER_STREAM = 100_000;

export interface OrderRpcContext extends PlaceOrderContext, WatchContext {
  readonly pages: PageTokens;
}

export function orderRpc(context: OrderRpcContext): Handlers<typeof OrderService> {
  const { db, clock, pages, announce, wake } = context;
  const check = createMessageCheck();
  const coalesce = createCoalescer();
  const once = createOnce(db);

  const change = (): ChangeContext => ({ now: clock.now(), announce, wake });

  /** Records the order of a request, once per idempotency key. */
  function record(request: CreateOrderRequest, call: Call): Promise<Outcome<CreateOrderResponse>> {
    const draft = parseDraft(request, call);
    // One space of keys for the three ways to create an order: an order of a broken stream may be sent again alone.
    const claim = claimOf(call, CreateOrderRequestSchema, request, {
      method: "CreateOrder",
      scope: draft.userId,
      omit: ["waitFor"],
    });
    return coalesce(claim, async () => {
      try {
        const order = await placeOrder(context, call, draft, claim, (recorded) =>
          Buffer.from(toBinary(CreateOrderResponseSchema, respond(recorded))),
        );
        if (order) return { result: respond(order), replayed: false };
      } catch (error) {
        // Prices and peers change; what was answered first stays.
        const replay = claim && (await findReplay(db, claim, CreateOrderResponseSchema));
        if (replay) return { result: replay, replayed: true };
        throw error;
      }
      const replay = claim && (await findReplay(db, claim, CreateOrderResponseSchema));
      if (!replay) throw new Error("an order was neither recorded nor was its key taken");
      return { result: replay, replayed: true };
    });
  }

  /** What became of one order of many. */
  async function resultOf(request: CreateOrderRequest, call: Call, precheck?: () => void): Promise<OrderResult> {
    try {
      check(CreateOrderRequestSchema, request);
      precheck?.();
      const { result } = await record(request, call);
      return { case: "order", value: result.order ?? create(OrderSchema) };
    } catch (error) {
      return { case: "error", value: toStatus(toAppError(error, call)) };
    }
  }

  /** An order that the caller may see or change. @throws AppError ACCESS_DENIED, NOT_FOUND */
  async function findFor(call: Call, id: string, permission: string): Promise<Order> {
    const order = await findOrder(db, id, call.signal);
    checkActsFor(call.subject, order?.userId ?? "", permission);
    if (!order) throw notFound("order", id);
    return order;
  }

  return {
    async createOrder(request, call) {
      const result = answer(call, await record(request, call));
      if (request.waitFor !== WaitFor.SETTLED || !result.order) return result;
      const settled = await waitUntil(context, call, result.order.id, ({ state }) => isSettled(state));
      return { order: orderToProto(settled) };
    },

    async *createOrders(requests, call) {
      const keys = new Map<number, string>();
      yield* mapConcurrently(
        requests,
        CONCURRENT_ORDERS,
        async ({ sequence, order = create(CreateOrderRequestSchema) }) => {
          const precheck = () => {
            checkStreamed(keys, sequence, order.idempotencyKey);
          };
          return { sequence, result: await resultOf(order, call, precheck) };
        },
      );
    },

    async batchCreateOrders({ orders }, call) {
      const results: BatchResult[] = [];
      const numbered = orders.map((order, sequence) => ({ order, sequence }));
      const work = mapConcurrently(fromArray(numbered), CONCURRENT_ORDERS, async ({ order, sequence }) => ({
        sequence,
        result: await resultOf(order, call),
      }));
      for await (const result of work) results[result.sequence] = result;
      return { results };
    },

    async getOrder({ id }, call) {
      return { order: orderToProto(await findFor(call, id, "order.read")) };
    },

    async listOrders(request, call) {
      const page = pages.open({
        call,
        schema: ListOrdersRequestSchema,
        request,
        token: request.pageToken,
        tokenField: "page_token",
        size: request.pageSize,
        omit: ["pageToken", "pageSize"],
      });
      const filter = {
        userId: ownerOf(request.userId, call, "order.read"),
        states: request.states.flatMap((state) => stateNames.get(state) ?? []),
        createdSince: request.createdSince && timestampDate(request.createdSince),
        createdBefore: request.createdBefore && timestampDate(request.createdBefore),
      };
      const orders = await listOrders(db, filter, page.after?.[0], page.limit, call.signal);
      const { rows, nextPageToken } = page.cut(orders, (last) => [last.id]);
      return { orders: rows.map(orderToProto), nextPageToken };
    },

    async cancelOrder(request, call) {
      const { id } = await findFor(call, request.id, "order.write");
      const claim = claimOf(call, CancelOrderRequestSchema, request, { omit: ["waitFor"] });
      const outcome = await once(claim, CancelOrderResponseSchema, async (trx) => {
        const order = await cancelOrder(trx, id, request.expectedVersion, change());
        return create(CancelOrderResponseSchema, { order: orderToProto(order) });
      });
      const result = answer(call, outcome);
      if (request.waitFor !== WaitFor.SETTLED) return result;
      return { order: orderToProto(await waitUntil(context, call, id, (order) => !order.cancelRequested)) };
    },

    async refundOrder(request, call) {
      const { id } = await findFor(call, request.id, "order.refund");
      const wish = parseRefund(request);
      const claim = claimOf(call, RefundOrderRequestSchema, request);
      const outcome = await once(claim, RefundOrderResponseSchema, async (trx) => {
        const { order, refund } = await refundOrder(trx, id, wish, change());
        const refunded = refundToProto(refund, order.currency);
        return create(RefundOrderResponseSchema, { order: orderToProto(order), refund: refunded });
      });
      return answer(call, outcome);
    },

    async fulfilOrder(request, call) {
      const { id } = await findFor(call, request.id, "order.fulfil");
      const claim = claimOf(call, FulfilOrderRequestSchema, request);
      const outcome = await once(claim, FulfilOrderResponseSchema, async (trx) => {
        const order = await fulfilOrder(trx, id, request.expectedVersion, change());
        return create(FulfilOrderResponseSchema, { order: orderToProto(order) });
      });
      return answer(call, outcome);
    },

    async deliverOrder(request, call) {
      const { id } = await findFor(call, request.id, "order.fulfil");
      const claim = claimOf(call, DeliverOrderRequestSchema, request);
      const outcome = await once(claim, DeliverOrderResponseSchema, async (trx) => {
        const order = await deliverOrder(trx, id, request.expectedVersion, change());
        return create(DeliverOrderResponseSchema, { order: orderToProto(order) });
      });
      return answer(call, outcome);
    },

    async batchGetOrders({ ids }, call) {
      const wanted = [...new Set(ids.map((id) => id.toLowerCase()))];
      const orders = await listOrdersById(db, wanted, call.signal);
      const found = new Set(orders.map(({ id }) => id));
      return { orders: orders.map(orderToProto), absentIds: wanted.filter((id) => !found.has(id)) };
    },

    async listOrderEvents({ id }, call) {
      await findFor(call, id, "order.read");
      return { events: (await listEvents(db, id, 0n, call.signal)).map(eventToProto) };
    },

    async *watchOrder({ id, afterPosition }, call) {
      const order = await findFor(call, id, "order.read");
      for await (const event of watchOrder(context, call, order.id, afterPosition))
        yield { event: eventToProto(event) };
    },
  };
}

type OrderResult = BatchResult["result"];
type BatchResult = Pick<BatchCreateOrdersResult, "sequence" | "result">;

async function* fromArray<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items;
}

/** What a stream asks of its messages beyond what their order says. */
function checkStreamed(keys: Map<number, string>, sequence: number, key: string): void {
  if (key === "")
    throw invalidRequest({ field: "idempotency_key", description: "is required for each order of a stream" });
  const known = keys.get(sequence);
  if (known !== undefined && known !== key) {
    throw invalidRequest({ field: "sequence", description: "was used in this stream with another idempotency key" });
  }
  if (known === undefined && keys.size >= ORDERS_PER_STREAM) {
    const message = `A stream carries ${String(ORDERS_PER_STREAM)} orders; open another.`;
    throw errors.OVERLOADED({ message, retryAfterMs: 100 });
  }
  keys.set(sequence, key);
}

function respond(order: Order): CreateOrderResponse {
  return create(CreateOrderResponseSchema, { order: orderToProto(order) });
}
