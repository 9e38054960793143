import { randomUUID } from "node:crypto";
import type { Order } from "#gen/commerce/order/v1/order_pb.ts";
import { WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import type { User } from "#gen/commerce/user/v1/user_pb.ts";
import { UserRole } from "#gen/commerce/user/v1/user_pb.ts";
import type { AnyRequest } from "../support/attempt.ts";
import { addStocked } from "../support/checkout.ts";
import type { Clients } from "../support/protocols.ts";
import { present } from "../support/role.ts";

/** A request of an rpc, and one that says something else; the key comes later. */
export interface Pair {
  readonly request: AnyRequest & object;
  readonly other: AnyRequest & object;
}

const name = () => `A name ${randomUUID()}`;
const address = (city = "Berlin") => ({ name: "Ada", lines: ["1 Main Street"], city, countryCode: "DE" });
const price = { currencyCode: "EUR", amountMinor: 500n };
const variant = () => ({ sku: `S-${randomUUID()}`, price });

async function newUser({ users }: Clients): Promise<User> {
  return present((await users.createUser({ email: `${randomUUID()}@example.com` })).user);
}

async function newProduct({ products }: Clients): Promise<string> {
  return present((await products.addProduct({ title: "A mug", variants: [variant()] })).product).id;
}

async function newCategory({ products }: Clients): Promise<string> {
  return present((await products.createCategory({ name: name() })).category).id;
}

async function newLocation({ inventory }: Clients): Promise<string> {
  const code = `l${randomUUID().replaceAll("-", "").slice(0, 20)}`;
  return present((await inventory.createLocation({ code, name: "A place" })).location).code;
}

async function newAddress({ users }: Clients): Promise<string> {
  return present((await users.addAddress({ address: address() })).entry).id;
}

async function newOrder(clients: Clients): Promise<Order> {
  const items = [{ sku: await addStocked(clients, { main: 9 }), quantity: 2 }];
  return present((await clients.orders.createOrder({ items, waitFor: WaitFor.SETTLED })).order);
}

async function fulfilled(clients: Clients): Promise<Order> {
  return present((await clients.orders.fulfilOrder({ id: (await newOrder(clients)).id })).order);
}

/** What is asked of each rpc that takes an idempotency key, about things made for it alone. */
export const pairs: Readonly<Record<string, (admin: Clients) => Promise<Pair>>> = {
  CreateUser: () => {
    const email = `${randomUUID()}@example.com`;
    return both({ email }, { displayName: "Ada" });
  },
  UpdateUser: async (admin) => both({ id: (await newUser(admin)).id, displayName: "Ada" }, { displayName: "Grace" }),
  DeactivateUser: async (admin) => {
    const { id, version } = await newUser(admin);
    return both({ id }, { expectedVersion: version });
  },
  ReactivateUser: async (admin) => {
    const { id, version } = await newUser(admin);
    await admin.users.deactivateUser({ id });
    return both({ id }, { expectedVersion: version + 1 });
  },
  SetUserRoles: async (admin) =>
    both({ userId: (await newUser(admin)).id, roles: [UserRole.SUPPORT] }, { roles: [UserRole.ADMIN] }),
  UpdateProfile: () => both({ displayName: "Ada" }, { displayName: "Grace" }),
  AddAddress: () => both({ address: address() }, { address: address("Paris") }),
  UpdateAddress: async (admin) =>
    both({ id: await newAddress(admin), address: address("Rome") }, { address: address() }),
  AddProduct: () => both({ title: "A mug", variants: [variant()] }, { title: "A cup" }),
  UpdateProduct: async (admin) => both({ id: await newProduct(admin), title: "A cup" }, { title: "A jug" }),
  ArchiveProduct: async (admin) => both({ id: await newProduct(admin) }, { expectedVersion: 1 }),
  UnarchiveProduct: async (admin) => {
    const id = await newProduct(admin);
    await admin.products.archiveProduct({ id });
    return both({ id }, { expectedVersion: 2 });
  },
  CreateCategory: () => both({ name: name() }, { name: name() }),
  UpdateCategory: async (admin) => both({ id: await newCategory(admin), name: name() }, { name: name() }),
  DeleteCategory: async (admin) => both({ id: await newCategory(admin) }, { expectedVersion: 1 }),
  CreateOrder: async (admin) => {
    const sku = await addStocked(admin, { main: 9 });
    return both({ items: [{ sku, quantity: 1 }] }, { items: [{ sku, quantity: 2 }] });
  },
  CancelOrder: async (admin) => {
    const { id, version } = await newOrder(admin);
    return both({ id }, { expectedVersion: version });
  },
  RefundOrder: async (admin) => both({ id: (await newOrder(admin)).id, amountMinor: 100n }, { amountMinor: 101n }),
  FulfilOrder: async (admin) => {
    const { id, version } = await newOrder(admin);
    return both({ id }, { expectedVersion: version });
  },
  DeliverOrder: async (admin) => {
    const { id, version } = await fulfilled(admin);
    return both({ id }, { expectedVersion: version });
  },
  SavePaymentMethod: () => both({ token: "tok_approved" }, { token: "tok_slow" }),
  AdjustStock: async (admin) => both({ sku: await addStocked(admin, { main: 1 }), delta: 5n }, { delta: 6n }),
  TransferStock: async (admin) => {
    const [sku, toLocation] = [await addStocked(admin, { main: 5 }), await newLocation(admin)];
    return both({ sku, fromLocation: "main", toLocation, quantity: 2n }, { quantity: 3n });
  },
  UpdateStockPolicy: async (admin) =>
    both({ sku: await addStocked(admin, { main: 1 }), backorderLimit: 5n }, { backorderLimit: 6n }),
  CreateLocation: () => both({ code: `c${randomUUID().slice(0, 8)}`, name: "A place" }, { name: "Another" }),
  UpdateLocation: async (admin) => both({ code: await newLocation(admin), name: name() }, { name: name() }),
};

function both(request: Pair["request"], change: object): Promise<Pair> {
  return Promise.resolve({ request, other: { ...request, ...change } });
}
