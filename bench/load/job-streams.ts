import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import type { Job } from "./loops.ts";
import { Failure } from "./loops.ts";

const MESSAGE_BYTES = 64 * 1024 * 1024;

function transportOf(url: string, authorization: string) {
  return createConnectTransport({
    baseUrl: url,
    httpVersion: "2",
    useBinaryFormat: true,
    readMaxBytes: MESSAGE_BYTES,
    interceptors: [
      (next) => (request) => {
        if (authorization !== "") request.header.set("authorization", authorization);
        return next(request);
      },
    ],
  });
}

/** A whole ListProducts; what is done are the products that came. */
export function listProductsJob({ url }: { readonly url: string }): Job {
  const products = createClient(ProductService, transportOf(url, ""));
  return {
    async call() {
      let count = 0;
      for await (const chunk of products.listProducts({})) count += chunk.products.length;
      return count;
    },
    close: () => undefined,
  };
}

export interface OrdersStreamOptions {
  readonly url: string;
  readonly authorization: string;
  readonly skus: readonly string[];
  readonly lines: number;
  /** Of one stream. */
  readonly orders: number;
}

/** A CreateOrders of so many orders; what is done are the orders that were recorded. */
export function ordersStreamJob({ url, authorization, skus, lines, orders }: OrdersStreamOptions): Job {
  const client = createClient(OrderService, transportOf(url, authorization));
  async function* requests() {
    for (let sequence = 1; sequence <= orders; sequence += 1) {
      const items = Array.from({ length: lines }, (_, line) => ({
        sku: skus[(sequence * lines + line) % skus.length] ?? "",
        quantity: 1,
      }));
      yield await Promise.resolve({ sequence, order: { items, idempotencyKey: randomUUID() } });
    }
  }
  return {
    async call() {
      let recorded = 0;
      let refused = "";
      for await (const { result } of client.createOrders(requests())) {
        if (result.case === "order") recorded += 1;
        else refused = String(result.value?.message);
      }
      if (refused !== "") throw new Failure("refused", refused);
      return recorded;
    },
    close: () => undefined,
  };
}
