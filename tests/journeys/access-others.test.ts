import { randomUUID } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import type { Client, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { OrderService, OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Account } from "../support/accounts.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import type { AnyRequest } from "../support/attempt.ts";
import { attempt } from "../support/attempt.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols, refusalOf } from "../support/protocols.ts";
import { present } from "../support/role.ts";

const account = (name: string): Account => ({ email: `${name}@tests.example`, password: `the password of ${name}` });
const [ada, bob, eve] = [account("ada"), account("bob"), account("eve")];

const { listOrders, getOrder, cancelOrder, listOrderEvents, watchOrder } = OrderService.method;
const { listUsers } = UserService.method;
const { listProducts, queryProducts } = ProductService.method;
const { listApiKeys, listAuditEntries } = GatewayService.method;

type Answer = { readonly nextPageToken?: string; readonly resumeToken?: string };

describe.each(topologies)("what belongs to another in %s", (topology) => {
  let shop: Installation;
  let transport: Transport;
  let adas: Clients;
  let bobs: Clients;
  let admins: Clients;
  let gateway: Client<typeof GatewayService>;
  /** Authorization headers by who calls. */
  const by: Record<string, Record<string, string>> = { nobody: {} };
  const ids: Record<string, string> = {};
  let sku: string;

  beforeAll(async () => {
    shop = await startInstallation(topology);
    const database = shop.databases["user"]?.url ?? "";
    ids["ada"] = await createAccount(shop.url, ada, database);
    ids["bob"] = await createAccount(shop.url, bob, database);
    // A second admin: the same permissions, another person.
    ids["eve"] = await createAccount(shop.url, eve, database, ["admin"]);
    adas = clientsOf(protocols.gRPC(shop.url, ada));
    bobs = clientsOf(protocols.gRPC(shop.url, bob));
    admins = clientsOf(protocols.gRPC(shop.url));
    gateway = createClient(GatewayService, protocols.gRPC(shop.url));
    transport = protocols.gRPC(shop.url, "nobody");
    sku = `MUG-${randomUUID()}`;
    const price = { currencyCode: "EUR", amountMinor: 1_000n };
    for (const each of [sku, randomUUID(), randomUUID()]) {
      await admins.products.addProduct({ title: "A mug", variants: [{ sku: each, price }] });
    }
    await admins.inventory.adjustStock({ sku, delta: 100n });
    for (const clients of [adas, bobs]) for (const _n of [1, 2, 3]) await place(clients);
    const permissions = ["order.read", "user.read", "apikey.read", "audit.read"];
    const machines = [
      await gateway.createApiKey({ name: "one", permissions }),
      await gateway.createApiKey({ name: "two", permissions }),
    ];
    for (const [name, who] of Object.entries({ ada, bob, eve, admin: undefined })) {
      by[name] = { authorization: `Bearer ${await tokenOf(shop.url, who)}` };
    }
    by["machine"] = { authorization: `Bearer ${machines[0]?.secret ?? ""}` };
    by["another machine"] = { authorization: `Bearer ${machines[1]?.secret ?? ""}` };
    // An entry can be read a second after its call.
    await until(async () => (await gateway.listAuditEntries({ pageSize: 2 })).entries.length === 2);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  async function place(clients: Clients, idempotencyKey = "", userId = "") {
    const { order } = await clients.orders.createOrder({ userId, items: [{ sku, quantity: 1 }], idempotencyKey });
    return present(order);
  }

  interface Paged {
    readonly method: DescMethod;
    readonly request: () => AnyRequest & object;
    readonly field: "pageToken" | "resumeToken";
    readonly whose: string;
    /** Who may make the same call, and yet not go on with it. */
    readonly others: readonly string[];
  }

  const lists: readonly Paged[] = [
    { method: listOrders, request: () => ({ pageSize: 1 }), field: "pageToken", whose: "ada", others: ["bob"] },
    {
      method: listOrders,
      request: () => ({ userId: ids["ada"], pageSize: 1 }),
      field: "pageToken",
      whose: "admin",
      others: ["ada", "eve", "machine"],
    },
    {
      method: listUsers,
      request: () => ({ pageSize: 1 }),
      field: "pageToken",
      whose: "admin",
      others: ["eve", "machine"],
    },
    {
      method: listApiKeys,
      request: () => ({ pageSize: 1 }),
      field: "pageToken",
      whose: "machine",
      others: ["admin", "another machine"],
    },
    {
      method: listAuditEntries,
      request: () => ({ pageSize: 1 }),
      field: "pageToken",
      whose: "admin",
      others: ["eve", "machine"],
    },
    {
      method: queryProducts,
      request: () => ({ pageSize: 1 }),
      field: "pageToken",
      whose: "ada",
      others: ["bob", "nobody"],
    },
    {
      method: listProducts,
      request: () => ({ limit: 1n }),
      field: "resumeToken",
      whose: "ada",
      others: ["bob", "nobody", "admin"],
    },
  ];

  test.each(lists)("$method.name by $whose is not gone on with by $others", async (list) => {
    const { method, request, field, whose, others } = list;
    const first = await attempt(transport, method, request(), by[whose]);
    const answer = first.response as Answer;
    const token = (field === "pageToken" ? answer.nextPageToken : answer.resumeToken) ?? "";
    expect(token).not.toBe("");
    const next = { ...request(), [field]: token };
    expect((await attempt(transport, method, next, by[whose])).code).toBe("Ok");
    for (const other of others) {
      expect((await attempt(transport, method, request(), by[other])).code, other).toBe("Ok");
      expect(await attempt(transport, method, next, by[other]), other).toMatchObject({
        code: "InvalidArgument",
        reason: "INVALID_REQUEST",
      });
    }
  });

  test("a token is of no use for another method", async () => {
    const { nextPageToken: pageToken } = await admins.orders.listOrders({ userId: present(ids["ada"]), pageSize: 1 });
    const refusals = await Promise.all(
      [
        admins.users.listUsers({ pageSize: 1, pageToken }),
        admins.products.queryProducts({ pageSize: 1, pageToken }),
        gateway.listApiKeys({ pageSize: 1, pageToken }),
        gateway.listAuditEntries({ pageSize: 1, pageToken }),
      ].map(refusalOf),
    );
    expect(refusals.map(({ reason }) => reason)).toEqual(refusals.map(() => "INVALID_REQUEST"));
  });

  test("the page of a user's own orders names no other user", async () => {
    const first = await adas.orders.listOrders({ pageSize: 1 });
    const next = { userId: present(ids["bob"]), pageSize: 1, pageToken: first.nextPageToken };
    expect(["ACCESS_DENIED", "INVALID_REQUEST"]).toContain((await refusalOf(adas.orders.listOrders(next))).reason);
  });

  test("an idempotency key is its user's own, whichever way the order is made", async () => {
    const key = `the same ${randomUUID()}`;
    const [first, second] = [await place(adas, key), await place(bobs, key)];
    expect(second.id).not.toBe(first.id);
    expect([first.userId, second.userId]).toEqual([ids["ada"], ids["bob"]]);
    // An admin for ada, with the key that ada used.
    const third = await place(admins, key, ids["ada"]);
    expect(third).toMatchObject({ userId: ids["ada"] });
    expect([first.id, second.id]).not.toContain(third.id);

    const order = { items: [{ sku, quantity: 1 }], idempotencyKey: key };
    for (const [clients, own] of [
      [adas, first],
      [bobs, second],
    ] as const) {
      const { results } = await clients.orders.batchCreateOrders({ orders: [order] });
      expect(results[0]?.result).toMatchObject({ case: "order", value: { id: own.id } });
      async function* requests() {
        yield { sequence: 7, order };
      }
      for await (const { result } of clients.orders.createOrders(requests())) {
        expect(result).toMatchObject({ case: "order", value: { id: own.id } });
      }
      expect((await place(clients, key)).id).toBe(own.id);
    }
    expect((await adas.orders.listOrders({ pageSize: 500 })).orders.map(({ id }) => id)).not.toContain(second.id);
  });

  test("nor do other answers go to another user with the same key", async () => {
    const idempotencyKey = `the same ${randomUUID()}`;
    const address = { name: "Somebody", lines: ["1 Main Street"], city: "Berlin", countryCode: "DE" };
    const [one, two] = [
      await adas.users.addAddress({ address, idempotencyKey }),
      await bobs.users.addAddress({ address, idempotencyKey }),
    ];
    expect(two.entry?.id).not.toBe(one.entry?.id);
    const names = { displayName: "The same name", idempotencyKey };
    expect((await adas.users.updateProfile(names)).user?.id).toBe(ids["ada"]);
    expect((await bobs.users.updateProfile(names)).user?.id).toBe(ids["bob"]);
    const own = await place(adas);
    await adas.orders.cancelOrder({ id: own.id, idempotencyKey });
    // The answer is there for the key, and still not bob's.
    expect((await refusalOf(bobs.orders.cancelOrder({ id: own.id, idempotencyKey }))).reason).toBe("ACCESS_DENIED");
  });

  test.each([getOrder, cancelOrder, listOrderEvents, watchOrder])(
    "$name of another's order is refused, however its id is written",
    async (method) => {
      const items = [{ sku, quantity: 1 }];
      const own = present((await adas.orders.createOrder({ items, waitFor: WaitFor.SETTLED })).order);
      for (const id of [own.id, own.id.toUpperCase()]) {
        expect(await attempt(transport, method, { id }, by["bob"])).toMatchObject({
          code: "PermissionDenied",
          reason: "ACCESS_DENIED",
        });
      }
      const { order } = await adas.orders.getOrder({ id: own.id });
      expect(order).toEqual({ ...own, state: OrderState.CONFIRMED });
      expect((await attempt(transport, method, { id: own.id.toUpperCase() }, by["ada"])).code).toBe("Ok");
    },
  );

  test("an address of another user is neither changed nor removed", async () => {
    const address = { name: "Ada", lines: ["1 Main Street"], city: "Berlin", countryCode: "DE" };
    const { entry } = await adas.users.addAddress({ address });
    const id = present(entry).id;
    const changed = bobs.users.updateAddress({ id, address: { ...address, city: "Nowhere" } });
    expect((await refusalOf(changed)).reason).toBe("ACCESS_DENIED");
    await bobs.users.removeAddress({ id });
    expect((await adas.users.getProfile({})).addresses).toContainEqual(entry);
  });
});
