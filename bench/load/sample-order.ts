import { randomBytes, randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { CreateOrderResponseSchema } from "#gen/commerce/order/v1/order_pb.ts";
import { createOutbox } from "../../src/platform/events/outbox.ts";
import { newId } from "../../src/platform/id.ts";
import type { Claim } from "../../src/platform/idempotency.ts";
import { announceOrders } from "../../src/roles/order/events.ts";
import type { Order } from "../../src/roles/order/order.ts";
import { noReason } from "../../src/roles/order/order.ts";
import { priceOrder } from "../../src/roles/order/pricing.ts";
import { orderToProto } from "../../src/roles/order/rpc-messages.ts";
import type { OrderTables } from "../../src/roles/order/schema.ts";
import { insertOrder } from "../../src/roles/order/store.ts";
import { sampleTaxTable, taxRate } from "../../src/roles/order/tax.ts";

/** A statement as a role sends it. */
export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** An order as CreateOrder records it, with its claim and its answer. */
export interface SampleOrder {
  readonly order: Order;
  readonly claim: Claim;
  readonly response: Buffer;
}

/** A new order of so many lines of one unit. */
export function sampleOrder(lines: number): SampleOrder {
  const userId = newId();
  const now = new Date();
  const price = priceOrder(
    Array.from({ length: lines }, (_, index) => ({
      number: index + 1,
      sku: `BENCH-${String(index).padStart(6, "0")}`,
      productId: newId(),
      title: `Product ${String(index)} of the bench`,
      options: {},
      unitMinor: 1_290n,
      quantity: 1,
      taxCategory: "standard",
    })),
    [],
    { inclusive: false, rateOf: (category) => taxRate(sampleTaxTable, "DE", category) },
  );
  const order: Order = {
    id: newId(),
    userId,
    state: "PENDING",
    why: noReason,
    currency: "EUR",
    ...price,
    paymentMethodToken: undefined,
    paymentMethodId: undefined,
    shippingAddress: undefined,
    billingAddress: undefined,
    nextAction: undefined,
    expiresAt: undefined,
    cancelRequested: false,
    refunds: [],
    refundsMinor: 0n,
    version: 1,
    createdAt: now,
    updatedAt: now,
  };
  const response = create(CreateOrderResponseSchema, { order: orderToProto(order) });
  const claim = { scope: userId, method: "CreateOrder", key: randomUUID(), hash: randomBytes(32) };
  return { order, claim, response: Buffer.from(toBinary(CreateOrderResponseSchema, response)) };
}

/** The very statement with which the order role records this order, compiled and not run. */
export async function statementOf({ order, claim, response }: SampleOrder): Promise<Statement> {
  const statements: Statement[] = [];
  const db = new Kysely<OrderTables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (kysely) => new PostgresIntrospector(kysely),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
    log: ({ query }) => {
      statements.push({ text: query.sql, values: query.parameters });
    },
  });
  const outbox = createOutbox({ schema: OrderEventSchema, version: 1, wake: () => undefined });
  await insertOrder(db, order, { claim, response }, announceOrders(outbox));
  const [statement] = statements;
  if (!statement || statements.length > 1) throw new Error("the order role records an order in other ways by now");
  return statement;
}
