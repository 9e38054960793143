import { randomUUID } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import { methods as allMethods } from "../journeys/access-calls.ts";
import { openRaw } from "../limits/raw.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import { writesOf } from "../support/writes.ts";

let shop: Installation;
let authorization: string;
let ownAuthorization: string;
let productId: string;

beforeAll(async () => {
  shop = await startInstallation("one process", { CORS_ORIGINS: "https://shop.example" });
  const account = { email: `${randomUUID()}@example.com`, password: "correct horse" };
  await createAccount(shop.url, account, "");
  authorization = `Bearer ${await tokenOf(shop.url)}`;
  ownAuthorization = `Bearer ${await tokenOf(shop.url, account)}`;
  const price = { currencyCode: "EUR", amountMinor: 1n };
  const { products } = clientsOf(protocols.gRPC(shop.url));
  productId = present((await products.addProduct({ title: "A mug", variants: [{ sku: "MUG", price }] })).product).id;
});
afterAll(() => shop[Symbol.asyncDispose]());

const json = { "content-type": "application/json" };

test("a method override is not heard, in no header, query or body", async () => {
  const before = await writesOf(shop);
  const path = `/api/v1/products/${productId}`;
  for (const name of ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"]) {
    for (const verb of ["DELETE", "PATCH", "PUT", "POST"]) {
      const read = await fetch(shop.url + path, { headers: { authorization, [name]: verb } });
      expect([name, verb, read.status]).toEqual([name, verb, 200]);
    }
    const posted = await fetch(shop.url + path, {
      method: "POST",
      headers: { ...json, authorization, [name]: "PATCH" },
      body: '{"title":"Overridden"}',
    });
    expect([name, posted.status]).toEqual([name, 405]);
  }
  expect((await fetch(`${shop.url}${path}?_method=PATCH&title=x`, { headers: { authorization } })).status).toBe(400);
  const listed = await fetch(`${shop.url}/api/v1/categories?_method=POST&name=x`, { headers: { authorization } });
  expect(listed.status).toBe(400);
  expect(await writesOf(shop)).toEqual(before);
});

test.each(["TRACE", "CONNECT", "PROPFIND", "MOVE", "DEBUG", "QUERY", "FOO", "get"])(
  "the verb %s serves nothing, and nothing is echoed",
  async (verb) => {
    for (const path of ["/api/v1/products", "/commerce.product.v1.ProductService/QueryProducts", "/livez", "/docs/"]) {
      const raw = openRaw(shop.url);
      await raw.write(`${verb} ${path} HTTP/1.1\r\nHost: shop\r\nX-Echo: echoed\r\nConnection: close\r\n\r\n`);
      await until(() => raw.closedAfter() !== undefined);
      expect(raw.text(), path).toMatch(/^HTTP\/1\.1 (?:400|404|405|501)|^$/);
      expect(raw.text(), path).not.toContain("echoed");
    }
  },
);

test("what changes something is not done by GET", async () => {
  const before = await writesOf(shop);
  for (const [name, method] of allMethods) {
    if (accessRule(method).level === "internal" || method.idempotency === 1) continue;
    const answer = await fetch(`${shop.url}/${name}?connect=v1&encoding=json&message=%7B%7D`, {
      headers: { authorization },
    });
    expect([name, answer.status]).toEqual([name, 405]);
  }
  expect(await writesOf(shop)).toEqual(before);
});

/** Content types that a page may send without asking first, and others that a careless server would read. */
const otherTypes = [
  "text/plain",
  "application/x-www-form-urlencoded",
  "multipart/form-data; boundary=x",
  "application/xml",
  "text/json",
  "application/jsonp",
  "application/json-patch+json",
  "application/json; charset=utf-7",
  "application/json, text/plain",
  "text/plain; application/json",
  "",
];

test("a body that does not say it is JSON is not read as JSON", async () => {
  const before = await writesOf(shop);
  for (const type of otherTypes) {
    for (const path of ["/api/v1/categories", "/commerce.product.v1.ProductService/CreateCategory"]) {
      const answer = await fetch(shop.url + path, {
        method: "POST",
        headers: { authorization, "content-type": type },
        body: Buffer.from('{"name":"Confused"}'),
      });
      // Connect knows one letter code only, UTF-8, and reads what is said of it as nothing.
      if (path.startsWith("/commerce") && type.startsWith("application/json; charset")) continue;
      expect([type, path, answer.status]).toEqual([type, path, 415]);
      expect(answer.headers.get("content-type")).toMatch(/json/);
    }
  }
  expect(await writesOf(shop)).toEqual(before);
});

describe("caches", () => {
  const privates = ["/api/v1/users/profile", "/api/v1/orders", "/api/v1/users", "/api/v1/payment-methods"];

  test.each(privates)("keep nothing of %s for others", async (path) => {
    for (const header of [{ authorization }, { authorization: ownAuthorization }, {}, { authorization: "Bearer x" }]) {
      const { headers } = await fetch(shop.url + path, { headers: header });
      expect(headers.get("cache-control")).toMatch(/^(?:private, no-cache|no-store)$/);
    }
    const head = await fetch(shop.url + path, { method: "HEAD", headers: { authorization } });
    expect(head.headers.get("cache-control")).toMatch(/^(?:private, no-cache|no-store)$/);
  });

  test("are told by what an answer that anybody may keep varies", async () => {
    const { headers } = await fetch(`${shop.url}/api/v1/products`);
    expect(headers.get("cache-control")).toBe("public, max-age=5");
    const vary = (headers.get("vary") ?? "").toLowerCase().split(/, */);
    expect(vary).toEqual(expect.arrayContaining(["origin", "authorization", "accept", "accept-encoding"]));
    const asSomebody = await fetch(`${shop.url}/api/v1/products`, { headers: { authorization: ownAuthorization } });
    expect(asSomebody.headers.get("cache-control")).toBe("private, no-cache");
    // Connect's own GET says nothing of caches, so that none keeps it longer than its own rules, which need a sign.
    const message = encodeURIComponent("{}");
    const rpc = await fetch(
      `${shop.url}/commerce.order.v1.OrderService/ListOrders?connect=v1&encoding=json&message=${message}`,
      { headers: { authorization: ownAuthorization } },
    );
    expect(rpc.status).toBe(200);
    expect(rpc.headers.get("cache-control") ?? "").not.toMatch(/public|max-age/);
    for (const name of ["expires", "last-modified", "etag"]) expect(rpc.headers.get(name)).toBeNull();
  });

  test.each([
    "/x.css",
    "/x.js",
    "/..%2fx.css",
    "%2fx.css",
    ";x.css",
    "%3bx.css",
    "%00.css",
    ".css",
    "%23.css",
    "%3f.css",
    "//x.css",
    "/%2e%2e/profile/x.png",
  ])("are not deceived by a private path that goes on with %s", async (more) => {
    const raw = openRaw(shop.url);
    const lines = [`GET /api/v1/users/profile${more} HTTP/1.1`, "Host: shop", `Authorization: ${ownAuthorization}`];
    await raw.write(`${lines.join("\r\n")}\r\nConnection: close\r\n\r\n`);
    await until(() => raw.closedAfter() !== undefined);
    expect(raw.text()).toMatch(/^HTTP\/1\.1 (?:400|403|404)/);
    expect(raw.text()).not.toContain("@example.com");
  });

  test("are not poisoned by headers that no answer varies by", async () => {
    const plain = await (await fetch(`${shop.url}/api/v1/products`)).text();
    for (const name of ["x-forwarded-host", "x-forwarded-proto", "x-host", "forwarded", "x-original-url", "cookie"]) {
      const answer = await fetch(`${shop.url}/api/v1/products`, { headers: { [name]: "evil.example" } });
      const told = [...answer.headers].flat().join("\n") + (await answer.text());
      expect(told, name).not.toContain("evil.example");
      expect(told.endsWith(plain), name).toBe(true);
    }
  });
});

/** Methods that nobody outside may call, and of whom nobody outside needs to know. */
const internal = [...allMethods.values()].filter((method) => accessRule(method).level === "internal");

test("neither the docs nor errors name a method of the inside", async () => {
  expect(internal.length).toBeGreaterThan(8);
  const pages = [
    "/openapi.json",
    "/docs/",
    "/docs/nothing",
    "/openapi.yaml",
    "/api/v1",
    "/api/",
    "/",
    "/-/",
    "/nothing",
  ];
  const texts = await Promise.all(pages.map(async (path) => (await fetch(shop.url + path)).text()));
  // Some names are also those of words that buyers read.
  for (const { name, parent } of internal) {
    for (const [at, text] of texts.entries()) {
      expect(text, pages[at]).not.toContain(`${parent.name}_${name}`);
      expect(text, pages[at]).not.toContain(`${parent.typeName}/${name}`);
      expect(text, pages[at]).not.toMatch(new RegExp(`"operationId": ?"[^"]*${name}"`));
    }
  }
});

test("what is called by the name of a method of the inside is answered like what there is not", async () => {
  const answerOf = async (path: string) => {
    const answer = await fetch(shop.url + path, { method: "POST", headers: { ...json, authorization }, body: "{}" });
    return [answer.status, (await answer.text()).replaceAll(/[\da-f-]{36}/g, "id")];
  };
  const [status, text] = await answerOf("/commerce.user.v1.UserService/NoSuchMethod");
  for (const { name, parent } of internal) {
    expect(await answerOf(`/${parent.typeName}/${name}`), name).toEqual([status, text]);
  }
});

test("reflection shows no method of the inside", async () => {
  const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: shop.url }));
  async function* questions() {
    for (const { parent } of allMethods.values()) {
      yield { messageRequest: { case: "fileContainingSymbol" as const, value: parent.typeName } };
    }
  }
  const shown = new Set<string>();
  for await (const { messageResponse } of client.serverReflectionInfo(questions())) {
    if (messageResponse.case !== "fileDescriptorResponse") continue;
    for (const bytes of messageResponse.value.fileDescriptorProto) {
      const file = fromBinary(FileDescriptorProtoSchema, bytes);
      for (const { name, method } of file.service) {
        for (const each of method) shown.add(`${file.package}.${name}/${each.name}`);
      }
    }
  }
  expect(shown).toContain("commerce.user.v1.UserService/GetUser");
  expect(
    [...allMethods].filter(([name, method]) => accessRule(method).level === "internal" && shown.has(name)),
  ).toEqual([]);
});

test("a failure tells nobody what the server is made of", async () => {
  for (const path of [
    "/nothing",
    "/api/v1/nothing",
    "/-/user/nothing",
    "/docs/nothing",
    "/commerce.x.v1.X/Y",
    "/%ff",
  ]) {
    const answer = await fetch(shop.url + path);
    const told = [...answer.headers].flat().join("\n") + (await answer.text());
    expect(told, path).not.toMatch(/fastify|node|express|postgres|x-powered-by|\bserver\n|\.ts\b|\/src\//i);
  }
});
