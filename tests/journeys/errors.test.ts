import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderService, OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import { stockOf } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import type { Installation, Topology } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { Sender, Wire } from "../support/wire.ts";
import { openSender, payloadOf, wires } from "../support/wire.ts";
import type { Row, World } from "./error-row.ts";
import { item, row } from "./error-row.ts";
import { checkoutRows } from "./error-rows-checkout.ts";

const { createUser, getUser, updateUser, batchGetUsers, listUsers } = UserService.method;
const { addProduct, getProduct, updateProduct, queryProducts, listProducts } = ProductService.method;
const { createOrder, createOrders, getOrder, cancelOrder, watchOrder } = OrderService.method;

const bytes = (...values: number[]) => new Uint8Array(values);
const malformed = (name: string, binary: Uint8Array, json: string | Uint8Array) =>
  row(name, getUser, () => ({ binary, json }), "invalid_argument", "MALFORMED_MESSAGE");
const text = (letters: number) => "x".repeat(letters);
/** Messages in messages, deeper than a parser may follow. */
const deepBytes = () => {
  let message = bytes();
  for (let n = 0; n < 200; n += 1) message = new Uint8Array([0x0b, ...message, 0x0c]);
  return message;
};

/** The rows of the error table, each as one call. */
const rows: readonly Row[] = [
  ...checkoutRows,
  malformed("a truncated message", bytes(0x0a, 10, 1), '{"id":'),
  malformed("garbage", bytes(0xff, 0xff, 0xff), "\u0001\u0002"),
  malformed("text that is not UTF-8", bytes(0x0a, 2, 0xff, 0xfe), Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])),
  malformed("a wrong type", bytes(0x0a, 2), '{"id":1}'),
  malformed("a message too deep", deepBytes(), `{"id":${"[".repeat(5_000)}`),
  {
    ...malformed("what is not gzip", bytes(1, 2, 3), "not gzip"),
    compressed: true,
  },
  {
    ...row(
      "a message that inflates over its limit",
      getUser,
      () => {
        const bomb = gzipSync(Buffer.alloc(4 * 1024 * 1024));
        return { binary: bomb, json: bomb };
      },
      "resource_exhausted",
      "MESSAGE_TOO_LARGE",
    ),
    compressed: true,
  },
  row(
    "a message over its limit",
    createUser,
    () => payloadOf(createUser.input, { email: text(1_100_000) }),
    "resource_exhausted",
    "MESSAGE_TOO_LARGE",
  ),
  row(
    "a method for roles only",
    batchGetUsers,
    ({ userId }) => payloadOf(batchGetUsers.input, { ids: [userId] }),
    "unimplemented",
    "UNSUPPORTED_METHOD",
  ),

  row(
    "a malformed id",
    getUser,
    () => payloadOf(getUser.input, { id: "nonsense" }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["id"],
  ),
  {
    ...row("a missing id", getOrder, () => payloadOf(getOrder.input, {}), "invalid_argument", "INVALID_REQUEST", [
      "id",
    ]),
    pathless: true,
  },
  row(
    "NUL in a text",
    createUser,
    () => payloadOf(createUser.input, { email: "a@example.com", displayName: "A\u0000da" }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["display_name"],
  ),
  row(
    "a bad email and a long name at once",
    createUser,
    () => payloadOf(createUser.input, { email: "ada", displayName: text(101) }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["email", "display_name"],
  ),
  row(
    "an unknown currency",
    addProduct,
    () =>
      payloadOf(addProduct.input, {
        title: "T",
        variants: [{ sku: "S-1", price: { currencyCode: "XYZ", amountMinor: 1n } }],
      }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["variants[0].price.currency_code"],
  ),
  row(
    "a price below 0",
    addProduct,
    () =>
      payloadOf(addProduct.input, {
        title: "T",
        variants: [{ sku: "S-1", price: { currencyCode: "EUR", amountMinor: -1n } }],
      }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["variants[0].price.amount_minor"],
  ),
  row(
    "no variant, no title",
    addProduct,
    () => payloadOf(addProduct.input, {}),
    "invalid_argument",
    "INVALID_REQUEST",
    ["title", "variants"],
  ),
  row(
    "quantities 0, -1 and the largest",
    createOrder,
    ({ userId, sku }) =>
      payloadOf(createOrder.input, { userId, items: [item(sku, 0), item(sku, -1), item(sku, 2_147_483_647)] }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["items[0].quantity", "items[1].quantity", "items[2].quantity"],
  ),
  row(
    "over 100 lines",
    createOrder,
    ({ userId, sku }) => payloadOf(createOrder.input, { userId, items: Array.from({ length: 101 }, () => item(sku)) }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["items"],
  ),
  row(
    "a long idempotency key",
    createOrder,
    ({ userId, sku }) => payloadOf(createOrder.input, { userId, items: [item(sku)], idempotencyKey: text(256) }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["idempotency_key"],
  ),
  row(
    "an unprintable idempotency key",
    createOrder,
    ({ userId, sku }) => payloadOf(createOrder.input, { userId, items: [item(sku)], idempotencyKey: "é" }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["idempotency_key"],
  ),
  row(
    "a page size below 0",
    listUsers,
    () => payloadOf(listUsers.input, { pageSize: -1 }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["page_size"],
  ),
  row(
    "a forged page token",
    queryProducts,
    () => payloadOf(queryProducts.input, { pageToken: "forged" }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["page_token"],
  ),
  row(
    "a forged resume token",
    listProducts,
    () => payloadOf(listProducts.input, { resumeToken: "forged" }),
    "invalid_argument",
    "INVALID_REQUEST",
    ["resume_token"],
  ),

  row("an absent user", getUser, () => payloadOf(getUser.input, { id: randomUUID() }), "not_found", "NOT_FOUND"),
  row("an absent product", getProduct, () => payloadOf(getProduct.input, { sku: "NO-SUCH" }), "not_found", "NOT_FOUND"),
  row("an absent order", getOrder, () => payloadOf(getOrder.input, { id: randomUUID() }), "not_found", "NOT_FOUND"),
  row(
    "watching an absent order",
    watchOrder,
    () => payloadOf(watchOrder.input, { id: randomUUID() }),
    "not_found",
    "NOT_FOUND",
  ),
  row(
    "an email that is taken",
    createUser,
    ({ email }) => payloadOf(createUser.input, { email: email.toUpperCase() }),
    "already_exists",
    "EMAIL_TAKEN",
  ),
  row(
    "a SKU that is taken",
    addProduct,
    ({ sku }) =>
      payloadOf(addProduct.input, { title: "T", variants: [{ sku, price: { currencyCode: "EUR", amountMinor: 1n } }] }),
    "already_exists",
    "SKU_TAKEN",
  ),
  row(
    "a category that does not exist",
    updateProduct,
    ({ productId }) => payloadOf(updateProduct.input, { id: productId, categoryId: randomUUID() }),
    "failed_precondition",
    "CATEGORY_UNKNOWN",
  ),
  row(
    "a stale version",
    updateUser,
    ({ userId }) => payloadOf(updateUser.input, { id: userId, expectedVersion: 9, displayName: "B" }),
    "aborted",
    "VERSION_MISMATCH",
  ),
  row(
    "an unknown SKU",
    createOrder,
    ({ userId }) => payloadOf(createOrder.input, { userId, items: [item("NO-SUCH")] }),
    "failed_precondition",
    "SKU_UNAVAILABLE",
  ),
  row(
    "an unknown buyer",
    createOrder,
    ({ sku }) => payloadOf(createOrder.input, { userId: randomUUID(), items: [item(sku)] }),
    "failed_precondition",
    "USER_UNAVAILABLE",
  ),
  row(
    "mixed currencies",
    createOrder,
    ({ userId, sku, dollars }) => payloadOf(createOrder.input, { userId, items: [item(sku), item(dollars)] }),
    "failed_precondition",
    "MIXED_CURRENCY",
  ),
  row(
    "another total than expected",
    createOrder,
    ({ userId, sku }) =>
      payloadOf(createOrder.input, {
        userId,
        items: [item(sku)],
        expectedTotal: { currencyCode: "EUR", amountMinor: 1n },
      }),
    "failed_precondition",
    "PRICE_CHANGED",
  ),
  row(
    "a key that was used with another body",
    createOrder,
    ({ userId, sku, cancelledKey }) =>
      payloadOf(createOrder.input, { userId, items: [item(sku, 9)], idempotencyKey: cancelledKey }),
    "failed_precondition",
    "IDEMPOTENCY_KEY_REUSED",
  ),
  row(
    "cancelling with a stale version",
    cancelOrder,
    ({ orderId }) => payloadOf(cancelOrder.input, { id: orderId, expectedVersion: 999 }),
    "aborted",
    "VERSION_MISMATCH",
  ),
  row(
    "a frame that cannot be read ends the stream",
    createOrders,
    () => ({ binary: bytes(0x0a, 10, 1), json: '{"sequence":' }),
    "invalid_argument",
    "MALFORMED_MESSAGE",
  ),
];

/** Rows that only JSON can get wrong. */
const jsonRows: readonly Row[] = [
  malformed("an unknown field", bytes(), '{"id":"x","price":{"amountMinor":"1"}}'),
  row(
    "an unknown enum",
    listUsers,
    () => ({ binary: bytes(), json: '{"state":"USER_STATE_SLEEPING"}' }),
    "invalid_argument",
    "MALFORMED_MESSAGE",
  ),
  row(
    "a state that a client invents",
    createOrder,
    () => ({ binary: bytes(), json: '{"items":[],"state":"ORDER_STATE_CONFIRMED"}' }),
    "invalid_argument",
    "MALFORMED_MESSAGE",
  ),
  row(
    "a number over 64 bits",
    listProducts,
    () => ({ binary: bytes(), json: '{"limit":"99999999999999999999"}' }),
    "invalid_argument",
    "MALFORMED_MESSAGE",
  ),
];

const allRows = [...rows, ...jsonRows];

/**
 * The rows that are sent over a wire. It ends at the gateway, and where roles run is nothing to it: each row goes over each
 * wire to one process, and over one of them, by turns, to a process per role.
 */
function sentOver(wire: Wire, topology: Topology): readonly Row[] {
  if (topology === "one process") return rowsOf(wire);
  return rowsOf(wire).filter((sent) => {
    const carrying = wires.filter((each) => rowsOf(each).includes(sent));
    return carrying[allRows.indexOf(sent) % carrying.length] === wire;
  });
}

describe.each(topologies)("the error table in %s", (topology) => {
  let shop: Installation;
  let world: World;
  beforeAll(async () => {
    shop = await startInstallation(topology);
    world = await populate(clientsOf(protocols["Connect binary"](shop.url)));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  describe.each(wires)("over %s", (wire) => {
    let sender: Sender;
    beforeAll(() => {
      sender = openSender(wire, shop.url);
    });
    afterAll(() => {
      sender.close();
    });

    test.each(sentOver(wire, topology))("$name: $reason", async (sent) => {
      const answer = await sender.send(sent.method, sent.payload(world), sent.compressed);
      expect(answer).toMatchObject({ code: sent.code, reasons: [sent.reason] });
      // Over REST an unreadable message is often a parameter that there is not, which is named.
      expect(answer.fields).toEqual(sent.fields ?? (wire === "REST" ? answer.fields : []));
      expect(answer.message).not.toMatch(/select |insert |constraint|node_modules|\.ts|at \w+ \(/i);
      expect(answer.requestId).toMatch(/^[0-9a-f-]{36}$/);
      // One line of the log at the gateway, with the id that the client was given.
      const lines = () =>
        shop.processes["gateway"]?.log.filter(
          ({ role, requestId, code }) => role === "gateway" && requestId === answer.requestId && code !== undefined,
        ) ?? [];
      await until(() => lines().length > 0);
      expect(lines()).toMatchObject([{ code: sent.code, reason: sent.reason }]);
    });
  });

  test("nothing of all this was a failure of ours, and nothing was written", async () => {
    const own = new Set(Object.values(shop.processes));
    const failures = [...own].flatMap(({ log }) => log.filter(({ level }) => level === "error"));
    expect(failures).toEqual([]);
    expect(await populationOf(clientsOf(protocols["Connect binary"](shop.url)), world)).toEqual({
      // With the admin.
      users: 2,
      products: 2,
      // Of each one: cancelled, confirmed, awaiting its payment, rejected.
      orders: 4,
      stock: { onHand: 4n, reserved: 1n, available: 3n },
      // There and back again, and the one that is confirmed.
      ledger: [595n, -595n],
      locations: ["main", "attic"],
    });
  });

  describe.each(wires)("over %s", (wire) => {
    let clients: Clients;
    beforeAll(() => {
      clients = clientsOf(protocols[wire](shop.url));
    });

    /** Orders are recorded, and answered OK with what became of them. */
    const recorded: readonly {
      readonly name: string;
      readonly order: () => Promise<Parameters<Clients["orders"]["createOrder"]>[0]>;
      readonly reason: string;
      readonly metadata: () => Record<string, string>;
    }[] = [
      {
        name: "more than there is",
        order: () => Promise.resolve({ items: [item(world.sku, 2), item(world.sku, 2)] }),
        reason: "OUT_OF_STOCK",
        metadata: () => ({ sku: world.sku, requested: "4", available: "3" }),
      },
      {
        name: "what never had a stock",
        order: () => Promise.resolve({ items: [item(world.dollars)] }),
        reason: "OUT_OF_STOCK",
        metadata: () => ({ sku: world.dollars, requested: "1", available: "0" }),
      },
      ...["card_declined", "insufficient_funds", "expired_card"].map((code) => ({
        name: `a card that is declined, ${code}`,
        order: () =>
          Promise.resolve({
            items: [item(world.sku)],
            paymentMethodToken: code === "card_declined" ? "tok_declined" : `tok_${code}`,
          }),
        reason: "CARD_DECLINED",
        metadata: () => ({ decline_code: code }),
      })),
      {
        name: "a token that the provider does not know",
        order: () => Promise.resolve({ items: [item(world.sku)], paymentMethodToken: "tok_of_nobody" }),
        reason: "PAYMENT_METHOD_INVALID",
        metadata: () => ({}),
      },
      {
        name: "a method that is another's",
        order: async () => {
          const { paymentMethod } = await clients.payments.savePaymentMethod({ token: "tok_approved" });
          return { userId: world.userId, items: [item(world.sku)], paymentMethodId: present(paymentMethod).id };
        },
        reason: "PAYMENT_METHOD_INVALID",
        metadata: () => ({}),
      },
      {
        name: "a capture that the provider refuses",
        order: () => Promise.resolve({ items: [item(world.sku)], paymentMethodToken: "tok_capture_refused" }),
        reason: "PAYMENT_FAILED",
        metadata: () => ({ failure_code: "capture_refused" }),
      },
    ];

    test.each(recorded.filter((_order, at) => topology === "one process" || wires[at % wires.length] === wire))(
      "an order of $name is recorded and REJECTED: $reason",
      async ({ order, reason, metadata }) => {
        const made = await clients.orders.createOrder({ ...(await order()), waitFor: WaitFor.SETTLED });
        const { id, state, reason: told, reasonMetadata } = present(made.order);
        expect({ state, told, reasonMetadata }).toEqual({
          state: OrderState.REJECTED,
          told: reason,
          reasonMetadata: metadata(),
        });
        expect((await clients.orders.getOrder({ id })).order).toEqual(made.order);
        expect(await stockOf(clients, world.sku)).toEqual({ onHand: 4n, reserved: 1n, available: 3n });
      },
    );
  });
});

/** REST has no path for what only roles call and for streams upwards, and no body where it reads. */
function rowsOf(wire: Wire): readonly Row[] {
  if (wire === "REST") {
    return allRows.filter(({ method, compressed, pathless }) => {
      return httpBindingsOf(method).length > 0 && !compressed && !pathless;
    });
  }
  return wire === "Connect JSON" ? allRows : rows;
}

async function populate(clients: Clients): Promise<World> {
  const { users, products, orders, inventory } = clients;
  const email = `ada.${randomUUID()}@example.com`;
  const userId = present((await users.createUser({ email })).user).id;
  const add = async (currencyCode: string) => {
    const sku = `S-${randomUUID()}`;
    const price = { currencyCode, amountMinor: 500n };
    const { product } = await products.addProduct({ title: sku, variants: [{ sku, price }] });
    return { sku, id: present(product).id };
  };
  const [euros, dollars] = [await add("EUR"), await add("USD")];
  await inventory.createLocation({ code: "attic", name: "Attic", priority: 1 });
  await inventory.adjustStock({ sku: euros.sku, delta: 5n });
  const order = async (state: OrderState, more: Parameters<typeof orders.createOrder>[0] = {}) => {
    const made = await orders.createOrder({ userId, items: [item(euros.sku)], ...more, waitFor: WaitFor.SETTLED });
    expect(made.order?.state).toBe(state);
    return present(made.order).id;
  };
  const cancelledKey = randomUUID();
  const orderId = await order(OrderState.CONFIRMED, { idempotencyKey: cancelledKey });
  await orders.cancelOrder({ id: orderId, waitFor: WaitFor.SETTLED });
  const confirmedId = await order(OrderState.CONFIRMED);
  await order(OrderState.AWAITING_PAYMENT, { paymentMethodToken: "tok_requires_action" });
  const rejectedId = await order(OrderState.REJECTED, { items: [item(euros.sku, 5)] });
  const ids = { userId, productId: euros.id, orderId, confirmedId, rejectedId };
  return { ...ids, email, sku: euros.sku, dollars: dollars.sku, cancelledKey };
}

async function populationOf(clients: Clients, { userId, sku }: World) {
  const { users, products, orders, payments, inventory } = clients;
  const { balances } = await payments.getLedgerBalances({});
  return {
    users: (await users.listUsers({})).users.length,
    products: (await products.queryProducts({})).products.length,
    orders: (await orders.listOrders({ userId })).orders.length,
    stock: await stockOf(clients, sku),
    ledger: balances.map(({ amount }) => amount?.amountMinor),
    locations: (await inventory.listLocations({})).locations.map(({ code }) => code),
  };
}
