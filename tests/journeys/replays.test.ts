import { randomUUID } from "node:crypto";
import type { DescMessage, DescMethod, DescMethodUnary, MessageShape } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { OrderService, OrderState, OrderStep } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { testTokens } from "../../src/roles/sandbox/payment.ts";
import type { AnyRequest } from "../support/attempt.ts";
import { attempt } from "../support/attempt.ts";
import { brokenPromises, stockOf } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { owners, startInstallation } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import { methods } from "./access-calls.ts";
import type { Buyer } from "./checkout-shop.ts";
import { newBuyer, query } from "./checkout-shop.ts";
import type { Pair } from "./replay-requests.ts";
import { pairs } from "./replay-requests.ts";

const { createOrder, cancelOrder, refundOrder } = OrderService.method;
const { adjustStock } = InventoryService.method;
const { savePaymentMethod } = PaymentService.method;

/** Calls at once with one key, and keys of each rpc. */
const [CALLS, KEYS] = [50, 20];

/** The answer of a call as bytes, and whether it says that it is a replay. */
async function call(transport: Transport, method: DescMethodUnary, request: AnyRequest) {
  for (;;) {
    try {
      const { message, header } = await transport.unary(method, undefined, 25_000, undefined, request);
      const bytes = toBinary(method.output, message as MessageShape<DescMessage>);
      return { bytes: Buffer.from(bytes).toString("hex"), replayed: header.get("idempotent-replayed"), message };
    } catch (error) {
      // On a busy machine it is told to come back, with the same key; nothing else may go wrong.
      const [info] = ConnectError.from(error).findDetails(ErrorInfoSchema);
      if (info?.reason !== "IDEMPOTENCY_IN_PROGRESS") throw error;
    }
  }
}

describe("50 calls at once with one key, at two processes of a shop", () => {
  let shop: Installation;
  let buyer: Buyer;
  /** As the buyer and as the admin, at each of the two. */
  let buyers: readonly Transport[];
  let admins: readonly Transport[];
  beforeAll(async () => {
    shop = await startInstallation("one process");
    const urls = [shop.url, await shop.another("gateway")];
    buyer = await newBuyer(shop);
    buyers = urls.map((url) => protocols.gRPC(url, buyer.account));
    admins = urls.map((url) => protocols.gRPC(url));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  /** Makes the calls of each key at once, spread over the processes; the one answer of each key. */
  async function atOnce<M extends DescMethodUnary>(
    transports: readonly Transport[],
    method: M,
    requestOf: (key: number) => AnyRequest & object,
  ): Promise<MessageShape<M["output"]>[]> {
    const answers: MessageShape<M["output"]>[] = [];
    for (let key = 0; key < KEYS; key += 1) {
      const request = { ...requestOf(key), idempotencyKey: `${method.name} ${String(key)}` };
      const each = await Promise.all(
        Array.from({ length: CALLS }, (_, at) => call(present(transports[at % transports.length]), method, request)),
      );
      expect(new Set(each.map(({ bytes }) => bytes)).size, `answers of key ${String(key)}`).toBe(1);
      expect(each.filter(({ replayed }) => replayed !== "true").length, "calls that did it").toBe(1);
      answers.push(present(each[0]).message as MessageShape<M["output"]>);
    }
    return answers;
  }

  let placed: readonly string[] = [];

  test("CreateOrder records one order", async () => {
    await buyer.admin.inventory.adjustStock({ sku: buyer.sku, delta: 90n });
    const answers = await atOnce(buyers, createOrder, () => ({ items: [{ sku: buyer.sku, quantity: 1 }] }));
    placed = answers.map(({ order }) => present(order).id);
    const list = async () => (await buyer.clients.orders.listOrders({ pageSize: 500 })).orders;
    expect(new Set((await list()).map(({ id }) => id))).toEqual(new Set(placed));
    await until(async () => (await list()).every(({ state }) => state === OrderState.CONFIRMED), 60_000);
    expect(await stockOf(buyer.admin, buyer.sku)).toEqual({ onHand: 80n, reserved: 0n, available: 80n });
    expect(await list()).toHaveLength(KEYS);
  });

  test("RefundOrder pays back once", async () => {
    const { id } = await buyer.order({ items: [{ sku: buyer.sku, quantity: 2 }] });
    const answers = await atOnce(admins, refundOrder, (key) => ({ id, amountMinor: BigInt(key + 1) }));
    const order = await buyer.readOnce(id, ({ refundedAmount }) => refundedAmount?.amountMinor === 210n);
    expect(order.refunds.map((refund) => refund.id)).toEqual(answers.map(({ refund }) => refund?.id));
    const { payment } = await buyer.admin.payments.getPayment({ orderId: id });
    expect([payment?.refunds.length, payment?.refundedAmount?.amountMinor]).toEqual([KEYS, 210n]);
  });

  test("CancelOrder cancels once", async () => {
    await atOnce(buyers, cancelOrder, (key) => ({ id: placed[key] ?? "" }));
    for (const id of placed) {
      expect((await buyer.readOnce(id, ({ cancelRequested }) => !cancelRequested)).state).toBe(OrderState.CANCELLED);
      const { events } = await buyer.clients.orders.listOrderEvents({ id });
      expect(events.filter(({ step }) => step === OrderStep.CANCEL_REQUESTED)).toHaveLength(1);
      expect(events.filter(({ step }) => step === OrderStep.REFUNDED)).toHaveLength(1);
    }
    expect((await stockOf(buyer.admin, buyer.sku))["onHand"]).toBe(98n);
  });

  test("AdjustStock moves units once", async () => {
    const sku = `S-${randomUUID()}`;
    const answers = await atOnce(admins, adjustStock, (key) => ({ sku, delta: BigInt(key + 1) }));
    expect((await stockOf(buyer.admin, sku))["onHand"]).toBe(210n);
    const { movements } = await buyer.admin.inventory.listMovements({ sku });
    expect(movements.map(({ id }) => id).reverse()).toEqual(answers.map(({ movement }) => movement?.id));
  });

  test("SavePaymentMethod saves one", async () => {
    // A token that is saved already is answered as it is: fewer tokens than keys.
    const tokenOf = (key: number) => present(testTokens[key % testTokens.length]);
    const answers = await atOnce(buyers, savePaymentMethod, (key) => ({ token: tokenOf(key) }));
    const { paymentMethods } = await buyer.clients.payments.listPaymentMethods({});
    expect(paymentMethods).toHaveLength(testTokens.length);
    const ids = answers.map(({ paymentMethod }) => present(paymentMethod).id);
    expect(new Set(ids)).toEqual(new Set(paymentMethods.map(({ id }) => id)));
  });

  test("and no promise is broken", async () => {
    expect(await brokenPromises(shop)).toEqual([]);
  }, 60_000);
});

/** Every rpc whose request has a key of its own. */
const keyed = [...methods.values()].filter(
  ({ input, methodKind }) => methodKind === "unary" && input.fields.some(({ name }) => name === "idempotency_key"),
) as DescMethodUnary[];

test("every rpc with an idempotency key has its requests here, and no other", () => {
  expect(Object.keys(pairs).sort()).toEqual(keyed.map(({ name }) => name).sort());
  // What is streamed or sent in batches has keys in its orders, in the same space as CreateOrder.
  const nested = [...methods.values()].filter((method) => !keyed.includes(method as DescMethodUnary) && hasKey(method));
  expect(nested.map(({ name }) => name).sort()).toEqual(["BatchCreateOrders", "CreateOrders"]);
});

function hasKey({ input }: DescMethod): boolean {
  return input.fields.some(({ message }) => message?.fields.some(({ name }) => name === "idempotency_key"));
}

describe("a call that is made again", () => {
  let shop: Installation;
  let transport: Transport;
  let admin: Clients;
  const made: Record<string, Pair & { readonly answer: string }> = {};
  let before: Record<string, unknown>;
  beforeAll(async () => {
    shop = await startInstallation("a process per role");
    transport = protocols.gRPC(shop.url);
    admin = clientsOf(transport);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test("is made a first time, and that is no replay", { timeout: 60_000 }, async () => {
    for (const method of keyed) {
      const pair = await present(pairs[method.name])(admin);
      const request = { ...pair.request, idempotencyKey: "the same key" };
      const { bytes, replayed } = await call(transport, method, request);
      expect(replayed, method.name).toBe(null);
      made[method.name] = { request, other: { ...pair.other, idempotencyKey: "the same key" }, answer: bytes };
    }
    expect(await brokenPromises(shop)).toEqual([]);
    before = await stateOf(shop);
  });

  test.each(keyed)("is answered as the first time, and not at all with another body: $name", async (method) => {
    const { request, other, answer } = present(made[method.name]);
    expect(await call(transport, method, request)).toMatchObject({ bytes: answer, replayed: "true" });
    expect(await attempt(transport, method, other)).toMatchObject({
      code: "FailedPrecondition",
      reason: "IDEMPOTENCY_KEY_REUSED",
    });
    expect(await call(transport, method, request)).toMatchObject({ bytes: answer, replayed: "true" });
  });

  test("changes nothing, in no database", async () => {
    expect(await brokenPromises(shop)).toEqual([]);
    expect(await stateOf(shop)).toEqual(before);
  });
});

/** Rows that change by themselves: who is alive, what was logged, what is still to be sent. */
const RESTLESS = ["relay_members", "relay_leases", "audit_entries", "audit_chains", "deliveries"];

/** What every table of every role holds, as a digest, and how many rows that are. */
async function stateOf(shop: Installation): Promise<Record<string, unknown>> {
  const state: Record<string, unknown> = {};
  for (const role of owners) {
    const tables = await query<{ name: string }>(
      shop,
      role,
      "select tablename as name from pg_tables where schemaname = 'public' and tablename <> all ($1)",
      [RESTLESS],
    );
    for (const { name } of tables) {
      const digest = `select count(*)::int, md5(string_agg(row::text, ',' order by row::text)) from "${name}" as row`;
      state[`${role}.${name}`] = (await query(shop, role, digest))[0];
    }
  }
  return state;
}
