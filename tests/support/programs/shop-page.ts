import { createRegistry } from "@bufbuild/protobuf";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { OrderService, OrderState, OrderStep, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { BadRequestSchema, ErrorInfoSchema, PreconditionFailureSchema } from "#gen/google/rpc/error_details_pb.ts";

/** What a page is told. */
export interface Settings {
  readonly shop: string;
  readonly transport: "gRPC-Web" | "Connect" | "Connect JSON";
  readonly admin: { readonly email: string; readonly password: string };
  /** Makes the names of this run its own. */
  readonly run: string;
}

/** An order that is abandoned by its watcher; the test looks for it on the server. */
export type Results = Awaited<ReturnType<typeof drive>>;

/**
 * A whole day in the shop, as a page in a browser would have it: only what `@connectrpc/connect-web` and the generated
 * code offer. Answers what it saw as plain JSON. It is served as it stands, without its types.
 */
export async function drive({ shop, transport, admin, run }: Settings) {
  const customer = { email: `${run}@example.com`, password: "correct horse" };
  const sku = `MUG-${run}`;
  const nobody = transportOf(shop, transport);
  const registered = await createClient(UserService, nobody).createUser({ ...customer, displayName: "Zoë 🛒" });
  const own = transportOf(shop, transport, await logIn(nobody, customer));
  const asAdmin = transportOf(shop, transport, await logIn(nobody, admin));

  const orders = createClient(OrderService, own);
  const profile = await createClient(UserService, own).getProfile({});
  const isSame = profile.user?.id === registered.user?.id && profile.user?.displayName === "Zoë 🛒";
  return {
    isSame,
    stock: await offer(asAdmin, sku),
    found: await look(nobody, sku),
    ordered: await order(own, sku),
    batch: await orderMany(own, sku),
    cancelled: await cancel(own, sku),
    listed: (await orders.listOrders({})).orders.map(({ state }) => nameOf(OrderState, state)),
    abandoned: await abandon(own, asAdmin, sku),
    refusals: await refusals(nobody, own, sku),
  };
}

function transportOf(baseUrl: string, name: Settings["transport"], token?: string): Transport {
  const authorize: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const jsonOptions = { registry: createRegistry(ErrorInfoSchema, BadRequestSchema, PreconditionFailureSchema) };
  const options = { baseUrl, interceptors: [authorize], useBinaryFormat: !name.endsWith("JSON"), jsonOptions };
  if (name === "gRPC-Web") return createGrpcWebTransport(options);
  return createConnectTransport({ ...options, useHttpGet: true });
}

async function logIn(transport: Transport, account: Settings["admin"]): Promise<string> {
  const auth = createClient(AuthService, transport);
  const { refreshToken } = await auth.login(account);
  return (await auth.refresh({ refreshToken })).accessToken;
}

/** As an admin: something to buy, ten of it; the stock's stream tells of it. */
async function offer(transport: Transport, sku: string) {
  const price = { currencyCode: "EUR", amountMinor: 1_290n };
  await createClient(ProductService, transport).addProduct({ title: `Mug ${sku}`, variants: [{ sku, price }] });
  const inventory = createClient(InventoryService, transport);
  await inventory.adjustStock({ sku, delta: 10n });
  const { stock, absentSkus } = await inventory.batchGetStock({ skus: [sku, "NO-SUCH"] });
  return { onHand: Number(stock[0]?.onHand), absentSkus };
}

/** As anybody: by its SKU, by a search, by a page, in the stream of all. */
async function look(transport: Transport, sku: string) {
  const products = createClient(ProductService, transport);
  const { product } = await products.getProduct({ sku });
  const searched = await products.queryProducts({ text: sku });
  const paged = await products.queryProducts({ pageSize: 1 });
  let streamed = 0;
  for await (const { products: page } of products.listProducts({})) {
    streamed += page.filter(({ id }) => id === product?.id).length;
  }
  return {
    price: String(product?.variants[0]?.price?.amountMinor),
    searched: searched.products.map(({ title }) => title === `Mug ${sku}`),
    paged: paged.products.length,
    streamed,
  };
}

/** An order is settled, its history watched, cut in the middle, and resumed behind what was seen. */
async function order(transport: Transport, sku: string) {
  const orders = createClient(OrderService, transport);
  const request = { items: [{ sku, quantity: 2 }], idempotencyKey: `one ${sku}`, waitFor: WaitFor.SETTLED };
  const settled = (await orders.createOrder(request, { timeoutMs: 15_000 })).order;
  let replayed: string | null = null;
  const onHeader = (header: Headers) => {
    replayed = header.get("idempotent-replayed");
  };
  const again = await orders.createOrder({ ...request, waitFor: WaitFor.RECORDED }, { onHeader });
  const id = settled?.id ?? "";
  const seen: string[] = [];
  let position = 0n;
  for await (const { event } of orders.watchOrder({ id })) {
    position = event?.position ?? 0n;
    seen.push(nameOf(OrderStep, event?.step));
    if (seen.length === 2) break;
  }
  for await (const { event } of orders.watchOrder({ id, afterPosition: position })) {
    seen.push(nameOf(OrderStep, event?.step));
    if (event?.state === OrderState.CONFIRMED) break;
  }
  const { events } = await orders.listOrderEvents({ id });
  const isRead = (await orders.getOrder({ id })).order?.version === settled?.version;
  const state = nameOf(OrderState, settled?.state);
  return { state, isRead, isSame: again.order?.id === id, replayed, seen, events: events.length };
}

async function orderMany(transport: Transport, sku: string): Promise<string[]> {
  const many = [sku, "NO-SUCH"].map((each) => ({ items: [{ sku: each, quantity: 1 }] }));
  const { results } = await createClient(OrderService, transport).batchCreateOrders({ orders: many });
  return results.map(({ result }) => result.case ?? "");
}

async function cancel(transport: Transport, sku: string): Promise<string> {
  const orders = createClient(OrderService, transport);
  const { order: placed } = await orders.createOrder({ items: [{ sku, quantity: 1 }], waitFor: WaitFor.SETTLED });
  const { order: cancelled } = await orders.cancelOrder({ id: placed?.id ?? "", waitFor: WaitFor.SETTLED });
  return nameOf(OrderState, cancelled?.state);
}

/** Leaves two streams that would go on: the history of an order that nobody pays, and the stock. */
async function abandon(own: Transport, asAdmin: Transport, sku: string) {
  const orders = createClient(OrderService, own);
  const unpaid = { paymentMethodToken: "tok_requires_action", waitFor: WaitFor.SETTLED };
  const { order: placed } = await orders.createOrder({ ...unpaid, items: [{ sku, quantity: 1 }] });
  const left = { order: "", stock: "" };
  const leaveOrder = new AbortController();
  try {
    for await (const { event } of orders.watchOrder({ id: placed?.id ?? "" }, { signal: leaveOrder.signal })) {
      if (event?.state === OrderState.AWAITING_PAYMENT) leaveOrder.abort();
    }
  } catch (error) {
    left.order = Code[ConnectError.from(error).code];
  }
  const leaveStock = new AbortController();
  try {
    const stream = createClient(InventoryService, asAdmin).watchStock({ skus: [sku] }, { signal: leaveStock.signal });
    for await (const _change of stream) leaveStock.abort();
  } catch (error) {
    left.stock = Code[ConnectError.from(error).code];
  }
  return { id: placed?.id ?? "", ...left };
}

/** What goes wrong, as a page can show it. */
async function refusals(nobody: Transport, own: Transport, sku: string) {
  const items = [{ sku, quantity: 1 }];
  const mine = createClient(OrderService, own);
  const expectedTotal = { currencyCode: "EUR", amountMinor: 1n };
  return {
    "no token": await refusalOf(createClient(OrderService, nobody).listOrders({})),
    "no permission": await refusalOf(createClient(InventoryService, own).adjustStock({ sku, delta: 1n })),
    "a wrong password": await refusalOf(
      createClient(AuthService, nobody).login({ email: "nobody@example.com", password: "wrong horse" }),
    ),
    "faulty fields": await refusalOf(mine.createOrder({ items: [{ sku: "", quantity: 0 }] })),
    "another price": await refusalOf(mine.createOrder({ items, expectedTotal })),
    "what is not for sale": await refusalOf(mine.createOrder({ items: [{ sku: "NO-SUCH", quantity: 1 }] })),
    "a stream of nobody's": await refusalOf(
      createClient(OrderService, nobody)
        .watchOrder({ id: "01900000-0000-7000-8000-000000000000" })
        [Symbol.asyncIterator]()
        .next(),
    ),
  };
}

async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "not refused";
  } catch (error) {
    const refused = ConnectError.from(error);
    const reasons = refused.findDetails(ErrorInfoSchema).map(({ reason }) => reason);
    const fields = refused.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
    const subjects = refused.findDetails(PreconditionFailureSchema).flatMap(({ violations }) => violations);
    const named = [...fields.map(({ field }) => field), ...subjects.map(({ subject }) => subject)];
    return [Code[refused.code], ...reasons, ...named].join(" ");
  }
}

function nameOf(names: Readonly<Record<string, number>>, value: number | undefined): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}
