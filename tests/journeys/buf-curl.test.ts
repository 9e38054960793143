import { tokenOf } from "../support/accounts.ts";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { DescMethod } from "@bufbuild/protobuf";
import { fromBinary, getOption } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AccessLevel, access } from "#gen/commerce/common/v1/access_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Registry } from "../../src/platform/role.ts";
import { registry } from "../../src/roles/registry.ts";
import type { Ended } from "../support/commands.ts";
import { outputOf, run } from "../support/commands.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

/** The ways in which `buf curl` may speak; those over HTTP/2 learn the schema from the server's reflection. */
const ways = {
  "connect over HTTP/2": { protocol: "connect", http: "2" },
  "grpc over HTTP/2": { protocol: "grpc", http: "2" },
  "grpcweb over HTTP/2": { protocol: "grpcweb", http: "2" },
  "connect over HTTP/1.1": { protocol: "connect", http: "1.1" },
  "grpcweb over HTTP/1.1": { protocol: "grpcweb", http: "1.1" },
} as const;
type Way = (typeof ways)[keyof typeof ways];

/** The email of a user that is there. */
const taken = "taken@example.com";

interface Product {
  readonly id: string;
  readonly title: string;
}

interface Order {
  readonly id: string;
  readonly state: string;
}

const services = Object.values<Registry[string]>(registry).flatMap((role) => role.services);
const isInternal = (method: DescMethod) => getOption(method, access).level === AccessLevel.INTERNAL;
const methods = services.flatMap((service) => service.methods);
const pathOf = (method: DescMethod) => `${method.parent.typeName}/${method.name}`;

describe.each(topologies)("buf curl in %s", (topology) => {
  let shop: Installation;
  let folder: Folder;
  /** The compiled schema. Reflection needs HTTP/2, and with it buf makes every call over HTTP/2. */
  let schema: string;
  beforeAll(async () => {
    folder = await makeFolder();
    schema = join(folder.path, "schema.binpb");
    const [started, built] = await Promise.all([startInstallation(topology), run("buf", ["build", "-o", schema])]);
    shop = started;
    outputOf(built);
    await clientsOf(protocols.gRPC(shop.url)).users.createUser({ email: taken });
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  async function curl(way: Way, method: string, messages: readonly object[], ...args: string[]): Promise<Ended> {
    const version = way.http === "2" ? ["--http2-prior-knowledge"] : ["--schema", schema];
    const input = messages.map((message) => JSON.stringify(message)).join("\n");
    const token = `authorization: Bearer ${await tokenOf(shop.url)}`;
    const flags = ["--protocol", way.protocol, ...version, "-H", token, ...args, "-d", "@-"];
    return run("buf", ["curl", ...flags, `${shop.url}/commerce.${method}`], { input });
  }

  /** The messages of the answer. @throws Error where the call fails, or was made over another version of HTTP */
  async function answers<T>(way: Way, method: string, ...messages: object[]): Promise<T[]> {
    const ended = await curl(way, method, messages, "-v");
    const stdout = outputOf(ended);
    const versions = [...ended.stderr.matchAll(/< \(#\d+\) HTTP\/(\S+)/g)].map(([, version]) => version);
    expect(new Set(versions)).toEqual(new Set([way.http === "2" ? "2.0" : "1.1"]));
    return messagesOf<T>(stdout);
  }

  async function answer<T>(way: Way, method: string, message: object): Promise<T> {
    const [first, ...more] = await answers<T>(way, method, message);
    expect(more).toEqual([]);
    return first as T;
  }

  describe.each(Object.entries(ways))("%s", { concurrent: true }, (_name, way) => {
    test("drives the five flows", async () => {
      const email = `${randomUUID()}@example.com`;
      const { user } = await answer<{ user: { id: string } }>(way, "user.v1.UserService/CreateUser", { email });
      expect(user).toMatchObject({ email, state: "USER_STATE_ACTIVE", version: 1 });

      const sku = `MUG-${randomUUID()}`;
      const variants = [{ sku, price: { currencyCode: "EUR", amountMinor: "1290" } }];
      const added = await answer<{ product: Product }>(way, "product.v1.ProductService/AddProduct", {
        title: `Mug ${sku}`,
        variants,
      });
      const read = await answer<{ product: Product }>(way, "product.v1.ProductService/GetProduct", { sku });
      expect(read).toEqual(added);
      expect(read.product).toMatchObject({ title: `Mug ${sku}`, variants });
      await answer(way, "inventory.v1.InventoryService/AdjustStock", { sku, delta: "8" });

      const items = [{ sku, quantity: 2 }];
      const { order } = await answer<{ order: Order }>(way, "order.v1.OrderService/CreateOrder", {
        userId: user.id,
        items,
      });
      expect(order).toMatchObject({
        userId: user.id,
        state: "ORDER_STATE_PENDING",
        lines: [{ sku, productId: added.product.id, title: `Mug ${sku}`, quantity: 2 }],
        itemsAmount: { currencyCode: "EUR", amountMinor: "2580" },
      });

      const chunks = await answers<{ products: Product[] }>(way, "product.v1.ProductService/ListProducts", {});
      expect(chunks.flatMap(({ products }) => products)).toContainEqual(added.product);

      const good = { userId: user.id, items, idempotencyKey: `good-${sku}` };
      const bad = { userId: user.id, items: [{ sku: "NO-SUCH", quantity: 1 }], idempotencyKey: `bad-${sku}` };
      const other = { userId: user.id, items, idempotencyKey: `other-${sku}` };
      const results = way.http === "2" ? await streamed([good, bad, other]) : await batched([good, bad, other]);
      expect(results.map(({ order: made }) => made?.state)).toEqual([
        "ORDER_STATE_PENDING",
        undefined,
        "ORDER_STATE_PENDING",
      ]);
      expect(results[1]).toMatchObject({
        error: { code: 9, details: [{ reason: "SKU_UNAVAILABLE" }, { violations: [{ subject: "NO-SUCH" }] }] },
      });
      const listed = await answer<{ orders: Order[] }>(way, "order.v1.OrderService/ListOrders", { userId: user.id });
      const ids = [order, ...results.flatMap(({ order: made }) => made ?? [])].map(({ id }) => id);
      expect(listed.orders.map(({ id }) => id).sort()).toEqual(ids.sort());
      const bought = { userId: user.id, items, waitFor: "WAIT_FOR_SETTLED" };
      expect(await answer(way, "order.v1.OrderService/CreateOrder", bought)).toMatchObject({
        order: { state: "ORDER_STATE_CONFIRMED" },
      });
    });

    interface Result {
      readonly sequence?: number;
      readonly order?: Order;
      readonly error?: object;
    }

    async function streamed(orders: readonly object[]): Promise<Result[]> {
      const messages = orders.map((order, index) => ({ sequence: index + 1, order }));
      const results = await answers<Result>(way, "order.v1.OrderService/CreateOrders", ...messages);
      results.sort((one, two) => Number(one.sequence) - Number(two.sequence));
      expect(results.map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
      return results;
    }

    // Nobody streams both ways over HTTP/1.1.
    async function batched(orders: readonly object[]): Promise<Result[]> {
      const { results } = await answer<{ results: Result[] }>(way, "order.v1.OrderService/BatchCreateOrders", {
        orders,
      });
      return results;
    }

    test("shows the code and the one ErrorInfo of a refusal", async () => {
      const { code, stdout, stderr } = await curl(way, "user.v1.UserService/CreateUser", [{ email: taken }]);
      // The gRPC code, shifted by three bits.
      expect({ code, stdout }).toEqual({ code: 6 << 3, stdout: "" });
      const error = JSON.parse(stderr) as { code: string; details: { type: string; value: string }[] };
      expect(error.code).toBe("already_exists");
      expect(error.details.map(({ type }) => type)).toEqual(["google.rpc.ErrorInfo"]);
      const info = fromBinary(ErrorInfoSchema, Buffer.from(error.details[0]?.value ?? "", "base64"));
      expect(info).toMatchObject({ reason: "EMAIL_TAKEN", domain: "connect-commerce" });
    });
  });

  test.each(["grpc-v1", "grpc-v1alpha"])("%s reflection lists what can be called, no internal method", async (kind) => {
    expect(methods.filter(isInternal).map(pathOf)).toContain("commerce.user.v1.UserService/BatchGetUsers");
    const list = async (what: string) => {
      const listed = outputOf(await run("buf", ["curl", what, "--reflect-protocol", kind, shop.url]));
      return listed.trim().split("\n");
    };
    expect(await list("--list-services")).toEqual(services.map(({ typeName }) => typeName).sort());
    const reachable = methods.filter((method) => !isInternal(method));
    expect(await list("--list-methods")).toEqual(reachable.map(pathOf).sort());
  });

  test("an internal method is unknown to reflection, and refused to those who know it", async () => {
    const message = { ids: [randomUUID()] };
    const unknown = await curl(ways["grpc over HTTP/2"], "user.v1.UserService/BatchGetUsers", [message]);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining("contains no such method") as string });
    const refused = await curl(ways["connect over HTTP/1.1"], "user.v1.UserService/BatchGetUsers", [message]);
    expect(refused).toMatchObject({ code: 12 << 3, stderr: expect.stringContaining('"unimplemented"') as string });
  });
});

/** buf prints one indented JSON document per message, one after another. */
function messagesOf<T>(stdout: string): T[] {
  return stdout
    .split(/\n(?=\{)/)
    .filter((document) => document.trim() !== "")
    .map((document) => JSON.parse(document) as T);
}
