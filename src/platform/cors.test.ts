import { request } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { getUserPath, pathOf, startServer } from "./server.fixture.ts";

const SHOP = "https://shop.example";
const LOCAL = "http://localhost:5173";
const browsers = { origins: [SHOP, LOCAL] };

/** Origins that look like one of the shop's. */
const foreign = [
  "null",
  "https://evil.test",
  "https://shop.example.evil.test",
  "https://evil-shop.example",
  "https://www.shop.example",
  "https://shop.exampl",
  "https://shop.example:8443",
  "https://shop.example:443",
  "http://shop.example",
  "https://shop.example/",
  "https://Shop.example",
  "https://shop.example, https://evil.test",
  "http://localhost:5174",
  "http://localhost",
  "",
];

interface Sent {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Sends what fetch would not: any path, and Origin as it is. */
async function send(port: number, path: string, { method = "POST", headers = {}, body = "" }: Sent = {}) {
  const sent = request({ host: "127.0.0.1", port, path, method, headers }).end(body);
  const [response] = await once(sent, "response");
  response.resume();
  await once(response, "end");
  return { status: response.statusCode as number, headers: response.headers as IncomingHttpHeaders };
}

const json = { "content-type": "application/json" };
const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };

function corsOf(headers: IncomingHttpHeaders): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("access-control-")));
}

const listProducts = pathOf(ProductService.method.listProducts);
const createOrders = pathOf(OrderService.method.createOrders);

/** Answers and refusals of every kind; each has to be readable. */
const answers: [string, number, string, Sent?][] = [
  ["a call", 200, getUserPath, { headers: json, body: '{"id":"1"}' }],
  ["a call's error", 404, getUserPath, { headers: json, body: '{"id":"absent"}' }],
  ["a malformed message", 400, getUserPath, { headers: json, body: "no JSON" }],
  ["another codec", 415, getUserPath, { headers: { "content-type": "text/plain" }, body: "x" }],
  ["another verb", 405, getUserPath, { method: "DELETE" }],
  ["gRPC-Web's error", 200, getUserPath, { headers: { "content-type": "application/grpc-web" }, body: "\0" }],
  ["gRPC-Web of nothing", 200, "/a.B/C", { headers: { "content-type": "application/grpc-web" } }],
  ["a stream's error", 200, listProducts, { headers: { "content-type": "application/connect+json" }, body: "\0" }],
  ["a stream that cannot be", 200, createOrders, { headers: { "content-type": "application/connect+json" } }],
  ["health", 200, "/livez", { method: "GET" }],
  ["no such path", 404, "/api/v1/nothing", { method: "GET" }],
  ["no such path, put", 404, "/-/nobody/nothing", { method: "PUT", headers: json, body: "{}" }],
  ["a path that cannot be read", 400, "/%", { method: "GET" }],
];

test.each(answers)(
  "%s may be read by pages of the listed origins, and by no other",
  async (_what, status, path, sent) => {
    const { port } = await startServer({ browsers });
    for (const origin of [SHOP, LOCAL]) {
      const answer = await send(port, path, { ...sent, headers: { ...sent?.headers, origin } });
      expect(answer.status).toBe(status);
      expect(corsOf(answer.headers)).toEqual({
        "access-control-allow-origin": origin,
        "access-control-expose-headers": expect.stringContaining("grpc-status-details-bin"),
      });
      expect(answer.headers.vary).toBe("Origin");
    }
    for (const origin of [undefined, ...foreign]) {
      const answer = await send(port, path, {
        ...sent,
        headers: { ...sent?.headers, ...(origin !== undefined && { origin }) },
      });
      expect([origin, answer.status, corsOf(answer.headers), answer.headers.vary]).toEqual([
        origin,
        status,
        {},
        "Origin",
      ]);
    }
  },
);

test.each([getUserPath, createOrders, "/livez", "/api/v1/orders", "/-/sandbox/x", "/%"])(
  "a preflight of %s is answered to the listed origins, before anything else",
  async (path) => {
    const { port, logged } = await startServer({ browsers });
    const answer = await send(port, path, { method: "OPTIONS", headers: { ...preflight, origin: SHOP } });
    expect(answer.status).toBe(204);
    expect(corsOf(answer.headers)).toEqual({
      "access-control-allow-origin": SHOP,
      "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
      "access-control-allow-headers": expect.stringMatching(/authorization, .*connect-protocol-version, .*x-grpc-web/),
      "access-control-max-age": "7200",
    });
    expect(answer.headers.vary).toBe("Origin");
    expect(logged).toEqual([]);
    for (const origin of foreign) {
      const refused = await send(port, path, { method: "OPTIONS", headers: { ...preflight, origin } });
      expect([origin, refused.status, corsOf(refused.headers), refused.headers.vary]).toEqual([
        origin,
        403,
        {},
        "Origin",
      ]);
    }
    expect(logged.map(({ reason }) => reason)).toEqual(foreign.map(() => "ACCESS_DENIED"));
  },
);

test("over HTTP/2 as well, and a stream's headers come before its messages", async () => {
  const { url } = await startServer({ browsers });
  const session = connectHttp2(url);
  onTestFinished(() => session.destroy());
  const ask = async (headers: Record<string, string>, body = "") => {
    const stream = session.request({ ":path": listProducts, ...headers });
    stream.end(body);
    const [answer] = await once(stream, "response");
    stream.destroy();
    return answer as IncomingHttpHeaders;
  };
  const asked = await ask({ ":method": "OPTIONS", ...preflight, origin: SHOP });
  expect([asked[":status"], asked["access-control-allow-origin"]]).toEqual([204, SHOP]);
  const type = { "content-type": "application/connect+json" };
  const stream = await ask({ ":method": "POST", ...type, origin: LOCAL }, "\0\0\0\0\x02{}");
  expect([stream[":status"], stream["access-control-allow-origin"], stream.vary]).toEqual([200, LOCAL, "Origin"]);
  const refused = await ask({ ":method": "POST", ...type, origin: "https://evil.test" }, "\0\0\0\0\x02{}");
  expect([refused[":status"], corsOf(refused), refused.vary]).toEqual([200, {}, "Origin"]);
});

test("OPTIONS that is no preflight is what it was", async () => {
  const { port } = await startServer({ browsers });
  const answer = await send(port, getUserPath, { method: "OPTIONS", headers: { origin: SHOP } });
  expect([answer.status, answer.headers.allow]).toEqual([405, "POST, GET"]);
});

test.each([{ browsers: { origins: [] } }, {}])("with %o nothing is said of origins", async (options) => {
  const { port } = await startServer(options);
  for (const method of ["POST", "OPTIONS"]) {
    const { status, headers } = await send(port, getUserPath, {
      method,
      headers: { ...json, ...preflight, origin: SHOP },
    });
    const refused = "browsers" in options ? 403 : 405;
    expect([status, corsOf(headers), headers.vary]).toEqual([method === "POST" ? 400 : refused, {}, undefined]);
  }
});

test("a route that varies by more still varies by origin", async () => {
  const { port } = await startServer({
    browsers,
    http: (app) => void app.get("/page", (_request, reply) => reply.header("vary", "Accept-Language").send("hi")),
  });
  expect((await send(port, "/page", { method: "GET" })).headers.vary).toBe("Accept-Language, Origin");
});
