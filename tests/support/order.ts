import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { pino } from "pino";
import type { CreateOrderRequestSchema, Order } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderService, OrderState, OrderStep, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentEventSchema } from "#gen/commerce/payment/v1/events_pb.ts";
import { ProductService, ProductState } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService, UserState } from "#gen/commerce/user/v1/user_pb.ts";
import type { ServedService } from "../../src/platform/call.ts";
import { errors } from "../../src/platform/errors.ts";
import type { EventInit } from "../../src/platform/events/declaration.ts";
import { toBusMessage } from "../../src/platform/events/envelope.ts";
import { createInbox } from "../../src/platform/events/inbox.ts";
import { newId } from "../../src/platform/id.ts";
import type { RunningRole } from "../../src/platform/role.ts";
import { orderRole } from "../../src/roles/order/index.ts";
import type { SagaTimings } from "../../src/roles/order/run-sagas.ts";
import { sagaTimings } from "../../src/roles/order/run-sagas.ts";
import type { OrderTables } from "../../src/roles/order/schema.ts";
import { sampleTaxTable } from "../../src/roles/order/tax.ts";
import { until } from "./conditions.ts";
import { PeerModel } from "./order-peers.ts";
import type { TestRole } from "./role.ts";
import { peer, present, startTestRole } from "./role.ts";

export const productId = randomUUID();

/** What the catalogue and the user role say; a test may change it. */
export interface Catalogue {
  prices: Map<string, { currencyCode: string; amountMinor: bigint }>;
  archived: Set<string>;
  users: Map<string, UserState>;
  down: boolean;
  asked: number;
}

/** One buyer, and a few things to buy. */
export function newCatalogue(userId: string): Catalogue {
  const eur = (amountMinor: bigint) => ({ currencyCode: "EUR", amountMinor });
  return {
    prices: new Map([
      ["MUG", eur(1290n)],
      ["TEA", eur(450n)],
      ["FREE", eur(0n)],
      ["GOLD", eur(2n ** 62n)],
      ["USD", { currencyCode: "USD", amountMinor: 100n }],
    ]),
    archived: new Set(),
    users: new Map([[userId, UserState.ACTIVE]]),
    down: false,
    asked: 0,
  };
}

export function cataloguePeers(catalogue: Catalogue): readonly ServedService[] {
  return [
    peer(UserService, {
      batchGetUsers({ ids }) {
        if (catalogue.down) throw errors.OVERLOADED();
        const users = ids.flatMap((id) => {
          const state = catalogue.users.get(id);
          return state === undefined ? [] : [{ id, state }];
        });
        return Promise.resolve({ users, absentIds: ids.filter((id) => !catalogue.users.has(id)) });
      },
    }),
    peer(ProductService, {
      batchGetProducts({ skus }) {
        catalogue.asked += 1;
        const found = skus.filter((sku) => catalogue.prices.has(sku));
        const products = found.map((sku) => ({
          id: productId,
          title: `Title of ${sku}`,
          taxCategory: "standard",
          state: catalogue.archived.has(sku) ? ProductState.ARCHIVED : ProductState.ACTIVE,
          variants: [{ sku, options: { size: "L" }, price: catalogue.prices.get(sku) }],
        }));
        const absentSkus = skus.filter((sku) => !found.includes(sku));
        return Promise.resolve({ products: products as never[], absentSkus });
      },
    }),
  ];
}

/** The role's own configuration where nothing is said. */
export const orderConfig = {
  TAX_TABLE: sampleTaxTable,
  ORDER_PAYMENT_SECONDS: 1_800,
  ORDER_HOLD_SECONDS: 2_100,
  ORDER_OVERLOAD_SECONDS: 30,
};

/** A shop in a hurry. */
export const hasty: SagaTimings = {
  ...sagaTimings,
  pollMs: 50,
  leastPauseMs: 5,
  mostPauseMs: 40,
  askAgainMs: 200,
  mostAskAgainMs: 200,
};

export type OrderDraft = MessageInitShape<typeof CreateOrderRequestSchema>;

/** The role `order` with peers in memory that behave as their protos say. */
export interface Checkout extends AsyncDisposable {
  readonly role: TestRole;
  readonly orders: Client<typeof OrderService>;
  readonly model: PeerModel;
  readonly userId: string;
  /** Records an order of two mugs; with the token of a payment method. */
  place(token?: string, more?: Partial<OrderDraft>): Promise<Order>;
  read(id: string): Promise<Order>;
  /** The order once nothing is under way for it. */
  settled(id: string): Promise<Order>;
  /** The steps of its history. @throws Error where the numbers have gaps */
  steps(id: string): Promise<string[]>;
  /** An event of the order's payment arrives. */
  paymentEvent(event: EventInit<typeof PaymentEventSchema>["case"], orderId: string, at?: RunningRole): Promise<void>;
  /** What is wrong with an order that is settled, compared with its peers; empty where nothing is. */
  faults(id: string): Promise<string[]>;
}

/** @param timings beside those of {@link hasty} */
export async function startCheckout(
  timings: Partial<SagaTimings> = {},
  config: Readonly<Record<string, unknown>> = {},
): Promise<Checkout> {
  const model = new PeerModel();
  const userId = randomUUID();
  const role = await startTestRole("order", orderRole({ ...hasty, ...timings }), {
    config: { ...orderConfig, ...config },
    peers: [...cataloguePeers(newCatalogue(userId)), ...model.services],
  });
  const orders = role.client(OrderService);
  const db = role.database<OrderTables>();
  const sequences = new Map<string, bigint>();

  const read = async (id: string) => present((await orders.getOrder({ id })).order);
  const steps = async (id: string) => {
    const { events } = await orders.listOrderEvents({ id });
    const numbers = events.map(({ position }) => String(position)).join();
    if (numbers !== events.map((_, at) => String(at + 1)).join()) throw new Error(`the numbers are ${numbers}`);
    return events.map(({ step }) => nameOf(OrderStep, step));
  };
  const isIdle = async (id: string) => {
    const left = db.selectFrom("sagas").select("id").where("order_id", "=", id).where("finished_at", "is", null);
    return (await left.executeTakeFirst()) === undefined;
  };

  return {
    role,
    orders,
    model,
    userId,
    async place(paymentMethodToken = "tok_approved", more = {}) {
      const request = { userId, items: [{ sku: "MUG", quantity: 2 }], paymentMethodToken, ...more };
      return present((await orders.createOrder(request as OrderDraft)).order);
    },
    read,
    async settled(id) {
      await until(() => isIdle(id));
      return read(id);
    },
    steps,
    async paymentEvent(name, orderId, at = role.running) {
      const payment = model.payments.get(orderId);
      const id = payment?.id ?? newId();
      const sequence = (sequences.get(id) ?? 0n) + 1n;
      sequences.set(id, sequence);
      const event = { case: name, value: { payment: { id, orderId } } } as EventInit<typeof PaymentEventSchema>;
      const { body } = toBusMessage("payment", {
        id: newId(),
        partition: 0,
        aggregate_id: id,
        sequence,
        type: `payment.${name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`,
        version: 1,
        payload: Buffer.from(toBinary(PaymentEventSchema, create(PaymentEventSchema, { event }))),
        traceparent: "",
        occurred_at: new Date(),
        first_for: [],
      });
      const { consumers = [] } = at;
      const inbox = createInbox({
        db: role.database<unknown>(),
        group: "order",
        consumers,
        log: pino({ level: "error" }),
      });
      await inbox.receive([body]);
    },
    async faults(id) {
      const order = await read(id);
      const faults: string[] = [];
      const check = (holds: boolean, fault: string) =>
        void (holds || faults.push(`${nameOf(OrderState, order.state)}: ${fault}`));
      const units = model.unitsOf(id);
      const money = model.moneyOf(id);
      const payment = model.payments.get(id)?.state;
      const refunded = order.refundedAmount?.amountMinor ?? 0n;
      check(!order.cancelRequested, "is still to be cancelled");
      if (order.state === OrderState.REJECTED || order.state === OrderState.CANCELLED) {
        check(units === 0n, `has ${String(units)} units`);
        check(money === 0n, `has ${String(money)} minor units of money`);
        check(payment !== "AUTHORIZED" && payment !== "PENDING" && payment !== "REQUIRES_ACTION", "may be paid");
      } else {
        const total = order.totalAmount?.amountMinor ?? 0n;
        check(order.state === OrderState.CONFIRMED, "is not settled");
        check(model.reservations.get(id)?.state === "COMMITTED", "its units were not taken");
        check(
          money === total - refunded,
          `${String(money)} of ${String(total)} are paid, ${String(refunded)} refunded`,
        );
      }
      await steps(id);
      return faults;
    },
    [Symbol.asyncDispose]: () => role[Symbol.asyncDispose](),
  };
}

/** The name of a value of an enum of the protos. */
export function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}

/** A wait as a caller asks for it. */
export const waitSettled = { waitFor: WaitFor.SETTLED } as const;
