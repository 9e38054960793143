import { randomUUID } from "node:crypto";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { Client } from "pg";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import type { RoleEntry } from "../../src/platform/role.ts";
import { registry } from "../../src/roles/registry.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import type { Account } from "../support/accounts.ts";
import { admin, createAccount, tokenOf } from "../support/accounts.ts";
import type { AnyRequest } from "../support/attempt.ts";
import type { Installation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { ShopKey } from "../support/shop-key.ts";
import { shopKeyOf } from "../support/shop-key.ts";
import type { AccessRow, Actor } from "./access-matrix.ts";
import { accessMatrix } from "./access-matrix.ts";

/** Every rpc of the registry, by its name as in the table. */
export const methods: ReadonlyMap<string, DescMethod> = new Map(
  Object.values<RoleEntry>(registry)
    .flatMap(({ services }): readonly DescService[] => services)
    .flatMap((service) => service.methods)
    .map((method) => [`${method.parent.typeName}/${method.name}`, method]),
);

/** What the calls are about. */
export interface Things {
  readonly userId: string;
  readonly email: string;
  readonly orderId: string;
  readonly addressId: string;
  readonly productId: string;
  readonly categoryId: string;
  readonly apiKeyId: string;
  readonly paymentMethodId: string;
  /** One that the owner has removed. */
  readonly removedMethodId: string;
}

/** Things that there are not. */
export function nothing(): Things {
  const userId = randomUUID();
  return {
    userId,
    email: `${userId}@tests.example`,
    orderId: randomUUID(),
    addressId: randomUUID(),
    productId: randomUUID(),
    categoryId: randomUUID(),
    apiKeyId: randomUUID(),
    paymentMethodId: randomUUID(),
    removedMethodId: randomUUID(),
  };
}

/** A version that no object has: who may change it is told so, and nothing changes. */
const expectedVersion = 999_999;
const displayName = "Changed";
const address = { name: "The owner", lines: ["1 Main Street"], city: "Berlin", countryCode: "DE" };
const order = (userId: string) => ({
  userId,
  items: [{ sku: "NO-SUCH-SKU", quantity: 1 }],
  idempotencyKey: randomUUID(),
});

interface Caller {
  readonly actor: Actor;
  /** The refresh token of a session that serves for nothing else. */
  readonly refreshToken: string;
}

/** A request of each rpc about these things, such that nothing changes where it is let in. */
export const requests: Readonly<Record<string, (things: Things, caller: Caller) => AnyRequest & object>> = {
  CreateUser: ({ email }) => ({ email }),
  GetUser: ({ userId }) => ({ id: userId }),
  BatchGetUsers: ({ userId }) => ({ ids: [userId] }),
  ListUsers: () => ({ pageSize: 1 }),
  UpdateUser: ({ userId }) => ({ id: userId, expectedVersion, displayName }),
  DeactivateUser: ({ userId }) => ({ id: userId, expectedVersion }),
  ReactivateUser: ({ userId }) => ({ id: userId, expectedVersion }),
  GetProfile: () => ({}),
  UpdateProfile: () => ({ expectedVersion, displayName }),
  AddAddress: () => ({ address, idempotencyKey: "the same one" }),
  UpdateAddress: ({ addressId }, { actor }) => ({ id: addressId, address: { ...address, name: `The ${actor}` } }),
  // The owner's own would be gone.
  RemoveAddress: ({ addressId }, { actor }) => ({ id: actor === "owner" ? randomUUID() : addressId }),
  // The owner's attempts would be used up.
  Login: ({ email }) => ({ email: `${randomUUID()}.${email}`, password: "not the password" }),
  Refresh: (_things, { refreshToken }) => ({ refreshToken }),
  Logout: () => ({}),
  LogoutEverywhere: ({ userId }) => ({ userId }),
  ChangePassword: () => ({ currentPassword: "not the password", newPassword: "another password" }),
  ListSessions: ({ userId }) => ({ userId }),
  SetUserRoles: ({ userId }) => ({ userId, roles: [2], expectedVersion }),
  ListLoginProviders: () => ({}),
  StartOpenIdLogin: () => ({ provider: "no-such-provider" }),
  FinishOpenIdLogin: () => ({ loginToken: "no-such-token", code: "a code", state: "a state" }),
  LinkOpenIdIdentity: () => ({ loginToken: "no-such-token", currentPassword: "not the password" }),
  ListExternalIdentities: () => ({}),
  UnlinkExternalIdentity: () => ({ id: randomUUID() }),
  ListSigningKeys: () => ({}),
  WatchRevocations: () => ({}),
  AddProduct: () => ({
    title: "A product",
    categoryId: randomUUID(),
    variants: [{ sku: `S-${randomUUID()}`, price: { currencyCode: "EUR", amountMinor: 1n } }],
  }),
  GetProduct: ({ productId }) => ({ id: productId }),
  BatchGetProducts: ({ productId }) => ({ ids: [productId] }),
  QueryProducts: () => ({ pageSize: 1 }),
  ListProducts: () => ({ limit: 1n }),
  UpdateProduct: ({ productId }) => ({ id: productId, expectedVersion, title: "Changed" }),
  ArchiveProduct: ({ productId }) => ({ id: productId, expectedVersion }),
  UnarchiveProduct: ({ productId }) => ({ id: productId, expectedVersion }),
  CreateCategory: () => ({ name: "A category", parentId: randomUUID() }),
  GetCategory: ({ categoryId }) => ({ id: categoryId }),
  ListCategories: () => ({}),
  UpdateCategory: ({ categoryId }) => ({ id: categoryId, expectedVersion, name: "Changed" }),
  DeleteCategory: ({ categoryId }) => ({ id: categoryId, expectedVersion }),
  CreateOrder: ({ userId }) => order(userId),
  CreateOrders: ({ userId }) => ({ sequence: 1, order: order(userId) }),
  BatchCreateOrders: ({ userId }) => ({ orders: [order(userId)] }),
  GetOrder: ({ orderId }) => ({ id: orderId }),
  ListOrders: ({ userId }) => ({ userId }),
  CancelOrder: ({ orderId }) => ({ id: orderId, expectedVersion }),
  RefundOrder: ({ orderId }) => ({ id: orderId, amountMinor: 1_000_000_000n }),
  FulfilOrder: ({ orderId }) => ({ id: orderId, expectedVersion }),
  DeliverOrder: ({ orderId }) => ({ id: orderId, expectedVersion }),
  BatchGetOrders: ({ orderId }) => ({ ids: [orderId] }),
  GetPayment: ({ orderId }) => ({ orderId }),
  ListPayments: () => ({ pageSize: 1 }),
  ListLedgerTransactions: () => ({ pageSize: 1 }),
  GetLedgerBalances: () => ({}),
  SavePaymentMethod: ({ userId }) => ({ userId, token: "no-such-token" }),
  ListPaymentMethods: ({ userId }) => ({ userId }),
  // The owner's own would be gone.
  RemovePaymentMethod: ({ paymentMethodId, removedMethodId }, { actor }) => ({
    id: ["other", "support", "machine"].includes(actor) ? paymentMethodId : removedMethodId,
  }),
  AuthorizePayment: ({ orderId, userId }) => ({ orderId, userId, amount: { currencyCode: "EUR", amountMinor: 1n } }),
  CapturePayment: ({ orderId }) => ({ orderId }),
  VoidPayment: ({ orderId }) => ({ orderId }),
  RefundPayment: ({ orderId }) => ({
    orderId,
    refundId: randomUUID(),
    amount: { currencyCode: "EUR", amountMinor: 1n },
  }),
  AdjustStock: () => ({ sku: "NO-SUCH-SKU", delta: 1n, location: "no-such-location" }),
  TransferStock: () => ({ sku: "NO-SUCH-SKU", fromLocation: "a", toLocation: "b", quantity: 1n }),
  UpdateStockPolicy: () => ({ sku: "NO-SUCH-SKU", backorderLimit: 1n, location: "no-such-location" }),
  BatchGetStock: () => ({ skus: ["NO-SUCH-SKU"] }),
  ListStock: () => ({ pageSize: 1 }),
  BatchGetAvailability: () => ({ skus: ["NO-SUCH-SKU"] }),
  ListMovements: () => ({ pageSize: 1 }),
  WatchStock: () => ({ skus: ["NO-SUCH-SKU"] }),
  CreateLocation: () => ({ code: "main", name: "Main" }),
  UpdateLocation: () => ({ code: "main", name: "Changed", expectedVersion }),
  ListLocations: () => ({}),
  ReserveStock: ({ orderId }) => ({ orderId, lines: [{ sku: "NO-SUCH-SKU", quantity: 1n }], holdSeconds: 1 }),
  CommitReservation: ({ orderId }) => ({ orderId }),
  ReleaseReservation: ({ orderId }) => ({ orderId }),
  ReturnStock: ({ orderId }) => ({ orderId, returnId: randomUUID(), lines: [{ sku: "NO-SUCH-SKU", quantity: 1n }] }),
  RequestPasswordReset: () => ({ email: `${randomUUID()}@nobody.example` }),
  ResetPassword: () => ({ token: "no-token", newPassword: "a password of the tests" }),
  RequestEmailConfirmation: () => ({}),
  ConfirmEmail: () => ({ token: "no-token" }),
  GetMailRecipient: ({ userId }) => ({ userId }),
  ListDeliveries: ({ userId }) => ({ userId, pageSize: 1 }),
  RetryDelivery: () => ({ id: randomUUID() }),
  GetPreferences: ({ userId }) => ({ userId }),
  UpdatePreferences: ({ userId }) => ({ userId, preferences: [{ topic: 2, channel: 1, enabled: true }] }),
  ListDeadLetters: () => ({ pageSize: 1 }),
  GetDeadLetter: () => ({ eventId: randomUUID() }),
  ReplayDeadLetter: () => ({ eventId: randomUUID() }),
  SkipDeadLetter: () => ({ eventId: randomUUID() }),
  ListOrderEvents: ({ orderId }) => ({ id: orderId }),
  WatchOrder: ({ orderId }) => ({ id: orderId }),
  CreateApiKey: () => ({ name: "a key", permissions: ["order.read"] }),
  ListApiKeys: () => ({ pageSize: 1 }),
  RevokeApiKey: ({ apiKeyId }) => ({ id: apiKeyId }),
  ListAuditEntries: () => ({ pageSize: 1 }),
};

/** The rpcs that end sessions where they are let in: their callers come with sessions that serve for nothing else. */
const ENDS_SESSIONS = ["Logout", "LogoutEverywhere"];

const account = (name: string): Account => ({ email: `${name}@tests.example`, password: `the password of ${name}` });

/** Everybody of the table at one shop. */
export interface Cast {
  readonly things: Things;
  readonly key: ShopKey;
  readonly accounts: Readonly<Record<"owner" | "other" | "support" | "admin", Account>>;
  /** The Authorization header of an actor for an rpc; none of nobody. */
  headersOf(actor: Actor, row: AccessRow): Promise<Record<string, string>>;
  requestOf(actor: Actor, method: DescMethod, things?: Things): AnyRequest & object;
  /** Notes the answer of an rpc: a refresh token serves once. */
  answered(response: unknown): void;
  /** Makes an API key. */
  apiKey(...permissions: string[]): Promise<{ readonly id: string; readonly secret: string }>;
  /** Gives every account and address their attempts back. */
  forgetLogins(): Promise<void>;
  /** All that there is of the owner, as an admin and the owner read it. */
  stateOfOwner(): Promise<unknown>;
}

export async function castAt(shop: Installation): Promise<Cast> {
  const accounts = { owner: account("owner"), other: account("other"), support: account("support"), admin };
  const database = shop.databases["user"]?.url ?? "";
  const userId = await createAccount(shop.url, accounts.owner, database);
  const ids: Record<string, string> = { owner: userId };
  ids["other"] = await createAccount(shop.url, accounts.other, database);
  ids["support"] = await createAccount(shop.url, accounts.support, database, ["support"]);

  const asOwner = clientsOf(protocols.gRPC(shop.url, accounts.owner));
  const asAdmin = clientsOf(protocols.gRPC(shop.url));
  const gateway = createClient(GatewayService, protocols.gRPC(shop.url));
  const { user, permissions } = await asAdmin.users.getProfile({});
  ids["admin"] = user?.id ?? "";

  const { category } = await asAdmin.products.createCategory({ name: "Mugs" });
  const sku = `MUG-${randomUUID()}`;
  const price = { currencyCode: "EUR", amountMinor: 1_000n };
  const { product } = await asAdmin.products.addProduct({
    title: "A mug",
    categoryId: category?.id ?? "",
    variants: [{ sku, price }],
  });
  await asAdmin.inventory.adjustStock({ sku, delta: 1n });
  const placed = await asOwner.orders.createOrder({
    items: [{ sku, quantity: 1 }],
    shippingAddress: address,
    waitFor: WaitFor.SETTLED,
  });
  const saved = await asOwner.payments.savePaymentMethod({ token: "tok_approved" });
  const { paymentMethod: removed } = await asOwner.payments.savePaymentMethod({ token: "tok_approved" });
  await asOwner.payments.removePaymentMethod({ id: present(removed).id });
  const { entry } = await asOwner.users.addAddress({ address });
  const login = await asOwner.auth.login(accounts.other);

  const apiKey: Cast["apiKey"] = async (...granted) => {
    const made = await gateway.createApiKey({ name: "a machine", permissions: granted });
    return { id: present(made.apiKey).id, secret: made.secret };
  };
  const spare = await apiKey("order.read");
  const secrets = new Map<string, Promise<string>>();
  const machine = (...granted: string[]): Promise<string> => {
    const name = granted.join();
    const known = secrets.get(name) ?? apiKey(...granted).then((made) => made.secret);
    secrets.set(name, known);
    return known;
  };

  const things: Things = {
    userId,
    email: accounts.owner.email,
    orderId: present(placed.order).id,
    addressId: present(entry).id,
    productId: present(product).id,
    categoryId: present(category).id,
    apiKeyId: spare.id,
    paymentMethodId: present(saved.paymentMethod).id,
    removedMethodId: present(removed).id,
  };
  const key = await shopKeyOf(shop);
  // Sessions of the owner may end: this customer's place is taken where they would.
  const replaceable: Things = { ...things, userId: await createAccount(shop.url, account("replaceable"), database) };
  let { refreshToken } = login;

  async function tokenFor(actor: Exclude<Actor, "anonymous">, row: AccessRow): Promise<string> {
    switch (actor) {
      case "machine":
        return machine(...permissions.filter((permission) => permission !== row.permission));
      case "permitted":
        return machine(row.permission ?? "order.read");
      default:
        if (!endsSessions(row.rpc)) return tokenOf(shop.url, accounts[actor]);
        return key.sign({
          userId: actor === "owner" ? replaceable.userId : (ids[actor] ?? ""),
          permissions: {
            owner: [],
            other: [],
            support: permissionsOf(["support"]),
            admin: permissions,
          }[actor],
        });
    }
  }

  return {
    things,
    key,
    accounts,
    apiKey,
    async headersOf(actor, row) {
      return actor === "anonymous" ? {} : { authorization: `Bearer ${await tokenFor(actor, row)}` };
    },
    requestOf(actor, method, about) {
      const subject = about ?? (endsSessions(method.name) ? replaceable : things);
      return requests[method.name]?.(subject, { actor, refreshToken }) ?? {};
    },
    answered(response) {
      const next = (response as { readonly refreshToken?: unknown } | undefined)?.refreshToken;
      if (typeof next === "string") refreshToken = next;
    },
    async forgetLogins() {
      const client = new Client({ connectionString: database });
      await client.connect();
      await client.query("delete from login_throttle");
      await client.end();
    },
    async stateOfOwner() {
      const [
        { addresses, user: self },
        { orders },
        { sessions },
        { product: mug },
        { category: mugs },
        payment,
        methods,
      ] = await Promise.all([
        asOwner.users.getProfile({}),
        asAdmin.orders.listOrders({ userId }),
        asAdmin.auth.listSessions({ userId }),
        asAdmin.products.getProduct({ id: things.productId }),
        asAdmin.products.getCategory({ id: things.categoryId }),
        asAdmin.payments.getPayment({ orderId: things.orderId }),
        asOwner.payments.listPaymentMethods({}),
      ]);
      const own = addresses.find(({ id }) => id === things.addressId);
      return { self, own, orders, sessions: sessions.map(({ id }) => id), mug, mugs, payment, methods };
    },
  };
}

function endsSessions(rpc: string): boolean {
  return ENDS_SESSIONS.includes(rpc.replace(/.*\//, ""));
}

/** The rows of the table with their methods, where there are such. */
export const rows = accessMatrix.flatMap((row) => {
  const method = methods.get(row.rpc);
  return method ? [{ ...row, method }] : [];
});
