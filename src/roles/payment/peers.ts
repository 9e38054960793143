import { OrderService, OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import type { Peers } from "../../platform/clients/clients.ts";

/** Milliseconds that the answer may take. */
const ANSWER_MS = 5_000;

/** What this role needs of the order role. */
export interface OrderPeer {
  /** Those of the orders that there are and that take money: neither rejected nor cancelled. @throws PeerError */
  listPayable(ids: readonly string[], signal: AbortSignal): Promise<ReadonlySet<string>>;
}

export function orderPeer(peers: Peers): OrderPeer {
  const client = peers.client(OrderService);
  return {
    async listPayable(ids, signal) {
      const { orders } = await client.batchGetOrders({ ids: [...ids] }, { timeoutMs: ANSWER_MS, signal });
      const over = new Set<OrderState>([OrderState.REJECTED, OrderState.CANCELLED]);
      return new Set(orders.filter(({ state }) => !over.has(state)).map(({ id }) => id));
    },
  };
}
