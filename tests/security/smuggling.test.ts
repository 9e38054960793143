import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DATA, END_HEADERS, END_STREAM, HEADERS, field, fields, frame, openRaw, opening } from "../limits/raw.ts";
import { query } from "../journeys/checkout-shop.ts";
import { admin, tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

let shop: Installation;
let authorization: string;
beforeAll(async () => {
  shop = await startInstallation("one process");
  authorization = `Bearer ${await tokenOf(shop.url)}`;
});
afterAll(() => shop[Symbol.asyncDispose]());

/** Sends bytes, and answers the status of each response once the server has closed the connection, which it has to. */
async function exchange(bytes: string): Promise<{ readonly statuses: number[]; readonly text: string }> {
  const raw = openRaw(shop.url);
  await once(raw.socket, "connect");
  await raw.write(bytes);
  await until(() => raw.closedAfter() !== undefined);
  const statuses = [...raw.text().matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
  return { statuses, text: raw.text() };
}

/** What a second reader of the same bytes would take for a request of its own: it would make a category. */
const smuggledBody = JSON.stringify({ name: "Smuggled" });
const smuggled = () =>
  [
    "POST /api/v1/categories HTTP/1.1",
    "Host: shop",
    `Authorization: ${authorization}`,
    "Content-Type: application/json",
    "Connection: close",
    `Content-Length: ${String(smuggledBody.length)}`,
    "",
    smuggledBody,
  ].join("\r\n");

const start = "POST /api/v1/auth/login HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n";
const length = () => `Content-Length: ${String(smuggled().length + 5)}\r\n`;
const chunked = () => `0\r\n\r\n${smuggled()}`;

/** Requests whose end two readers see at two places. */
const desyncs: Readonly<Record<string, () => string>> = {
  "a length and chunks": () => `${start}${length()}Transfer-Encoding: chunked\r\n\r\n${chunked()}`,
  "chunks and a length": () => `${start}Transfer-Encoding: chunked\r\n${length()}\r\n${chunked()}`,
  "chunks, then as it is": () => `${start}Transfer-Encoding: chunked, identity\r\n\r\n${chunked()}`,
  "chunks of another name": () => `${start}Transfer-Encoding: xchunked\r\n\r\n${chunked()}`,
  "chunks twice": () =>
    `${start}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n${length()}\r\n${chunked()}`,
  "a tab before chunks": () => `${start}Transfer-Encoding:\tchunked\r\n${length()}\r\n${chunked()}`,
  "a space before the colon": () => `${start}Transfer-Encoding : chunked\r\n${length()}\r\n${chunked()}`,
  "two lengths": () => `${start}Content-Length: 2\r\n${length()}\r\n{}${smuggled()}`,
  "two lengths in one": () => `${start}Content-Length: 2, ${String(smuggled().length)}\r\n\r\n{}${smuggled()}`,
  "a length with a sign": () => `${start}Content-Length: +2\r\n\r\n{}${smuggled()}`,
  "a length in another base": () => `${start}Content-Length: 0x2\r\n\r\n{}${smuggled()}`,
  "a length that is none": () => `${start}Content-Length: -1\r\n\r\n{}${smuggled()}`,
  "a folded header": () => `${start}X-Fold: a\r\n Transfer-Encoding: chunked\r\n${length()}\r\n${chunked()}`,
  "a bare line feed": () => `${start}X: y\nTransfer-Encoding: chunked\r\n${length()}\r\n${chunked()}`,
  "a bare carriage return": () => `${start}X: y\rTransfer-Encoding: chunked\r\n${length()}\r\n${chunked()}`,
  "a NUL in a header": () => `${start}X: y\0z\r\nTransfer-Encoding: chunked\r\n\r\n${chunked()}`,
  "chunk sizes that are none": () => `${start}Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n${smuggled()}`,
  "line feeds between chunks": () => `${start}Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n${smuggled()}`,
};

test.each(Object.keys(desyncs))("no request is smuggled behind another by %s", async (how) => {
  const { statuses } = await exchange(desyncs[how]?.() ?? "");
  expect(statuses).toEqual([400]);
  expect(await query(shop, "product", "select 1 from categories")).toEqual([]);
});

test("what is sent so is a request where nothing hides it", async () => {
  const { statuses } = await exchange(smuggled());
  expect(statuses).toEqual([200]);
  await query(shop, "product", "delete from categories");
});

test.each([
  ["two hosts", "GET /api/v1/products HTTP/1.1\r\nHost: shop\r\nHost: evil.example\r\nConnection: close\r\n\r\n"],
  ["no host", "GET /api/v1/products HTTP/1.1\r\nConnection: close\r\n\r\n"],
  ["an odd version", "GET /api/v1/products HTTP/3.7\r\nHost: shop\r\n\r\n"],
  ["an odd method", "GE\x01T /api/v1/products HTTP/1.1\r\nHost: shop\r\n\r\n"],
  ["a header without a name", "GET /api/v1/products HTTP/1.1\r\nHost: shop\r\n: x\r\n\r\n"],
  ["a header's name with a space", "GET /api/v1/products HTTP/1.1\r\nHost: shop\r\nX Y: z\r\n\r\n"],
])("a request with %s is refused", async (_what, bytes) => {
  const { statuses, text } = await exchange(bytes);
  expect(statuses).toEqual([400]);
  expect(text).not.toMatch(/node_modules|\.ts:\d|evil/);
});

test.each([
  "http://evil.example/api/v1/products",
  "http://127.0.0.1:1/api/v1/users",
  "//evil.example/api/v1/products",
  "*",
  "evil.example:443",
  "/\\evil.example",
  "/api/v1/products#/../../users",
])("a target that names another place is not followed: %s", async (target) => {
  const { statuses, text } = await exchange(
    `GET ${target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n`,
  );
  expect(statuses.length).toBe(1);
  expect([400, 404, 405]).toContain(statuses[0]);
  expect(text).not.toContain("evil.example");
});

describe("over HTTP/2", () => {
  const base = { ":method": "GET", ":scheme": "http", ":authority": "shop", ":path": "/api/v1/products" };

  /** What came back as far as it can be read without HPACK: the body; undefined where the stream was refused. */
  async function ask(block: Buffer): Promise<string | undefined> {
    const raw = openRaw(shop.url);
    await once(raw.socket, "connect");
    await raw.write(opening);
    await raw.write(frame(HEADERS, { flags: END_HEADERS | END_STREAM, stream: 1, payload: block }));
    const isRefused = () => raw.resets.size > 0 || raw.goaway() !== undefined || raw.socket.destroyed;
    await until(() => isRefused() || (raw.frames.get(DATA) ?? 0) > 0);
    const answer = isRefused() ? undefined : raw.text();
    raw.socket.destroy();
    return answer;
  }

  test.each([
    ["connection", "keep-alive"],
    ["transfer-encoding", "chunked"],
    ["upgrade", "h2c"],
    ["keep-alive", "1"],
    ["te", "gzip"],
    ["X-Upper", "a"],
    [":path", "/api/v1/users"],
    [":odd", "a"],
  ])("the header %j with %j is refused", async (name, value) => {
    expect(await ask(Buffer.concat([fields(base), field(0, name, value)]))).toBeUndefined();
  });

  const users = { ...base, ":path": "/api/v1/users?pageSize=1" };

  test.each([
    ["authorization", "\r\nx-injected: b"],
    ["authorization", "\n"],
    ["authorization", "\0b"],
    ["authorization\r\nx", ""],
    ["authorization ", ""],
  ])("a header %j that goes on with %j is refused, or not heard at all", async (name, more) => {
    const answer = await ask(Buffer.concat([fields(users), field(0, name, authorization + more)]));
    expect(answer ?? '"reason":"TOKEN_INVALID"').toMatch(/"reason":"TOKEN_(?:MISSING|INVALID)"/);
  });

  test("what has none of these is answered", async () => {
    expect(await ask(fields(users))).toContain("TOKEN_MISSING");
    expect(await ask(Buffer.concat([fields(users), field(0, "authorization", authorization)]))).toContain('"users"');
  });
});

/** What one role says to another, and what a proxy might add. */
const inside: Readonly<Record<string, string>> = {
  "x-commerce-assertion": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
  "x-commerce-caller": "gateway",
  "x-commerce-subject": "user:admin",
  "x-commerce-permissions": "user.read,user.write",
  "x-user-id": "admin",
  "x-authenticated-user": admin.email,
  "x-forwarded-user": admin.email,
  "x-real-ip": "10.0.0.1",
  "x-original-url": "/api/v1/users",
  "x-rewrite-url": "/api/v1/users",
};

test("headers of the inside are not believed from outside", async () => {
  for (const path of ["/api/v1/users", "/commerce.user.v1.UserService/ListUsers"]) {
    const answer = await fetch(shop.url + path, {
      method: path.startsWith("/api") ? "GET" : "POST",
      headers: { ...inside, ...(path.startsWith("/api") ? {} : { "content-type": "application/json" }) },
      ...(path.startsWith("/api") ? {} : { body: "{}" }),
    });
    expect([path, answer.status]).toEqual([path, 401]);
  }
  // Not the users, to which the rewritten address would lead.
  const answer = await fetch(`${shop.url}/api/v1/categories`, { headers: inside });
  expect(Object.keys((await answer.json()) as object)).toContain("categories");
  // Nor does a stranger become anybody else by such headers beside a token of their own.
  const account = { email: "smuggler@example.com", password: "correct horse" };
  await clientsOf(protocols.gRPC(shop.url, "nobody")).users.createUser(account);
  const own = { authorization: `Bearer ${await tokenOf(shop.url, account)}` };
  expect((await fetch(`${shop.url}/api/v1/users`, { headers: { ...inside, ...own } })).status).toBe(403);
});

test("the id of a request is the server's own, whatever a client says", async () => {
  const id = "00000000-0000-7000-8000-000000000000";
  for (const path of ["/api/v1/products", "/nothing", "/livez"]) {
    const { headers } = await fetch(shop.url + path, { headers: { "x-request-id": id } });
    expect(headers.get("x-request-id"), path).toMatch(/^[\da-f]{8}-[\da-f]{4}-7/);
    expect(headers.get("x-request-id"), path).not.toBe(id);
  }
  const logs = shop.processes["gateway"]?.output() ?? "";
  expect(logs).not.toContain(id);
});
