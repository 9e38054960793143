import { connect as connectHttp2, constants } from "node:http2";
import { request } from "node:http";
import { once } from "node:events";
import { connect } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished, test, vi } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { GetUserRequestSchema, GetUserResponseSchema, UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Serving } from "#gen/grpc/health/v1/health_pb.ts";
import type { Server } from "./server.ts";
import { toConnectError } from "./wire.ts";
import { getUserPath, grpcClient, protocols, startServer, userClient } from "./server.fixture.ts";

test.each(protocols)("answers %s", async (_name, transport) => {
  const { url } = await startServer();
  const client = createClient(UserService, transport(url));
  expect((await client.getUser({ id: "1" })).user?.id).toBe("1");
  expect((await client.getUser({ id: "large" })).user?.displayName).toHaveLength(4_000);
  await expect(client.getUser({ id: "absent" })).rejects.toMatchObject({ rawMessage: "There is no user absent." });
});

test("answers plain JSON over HTTP/1.1, and grpc-js", async () => {
  const { url, port } = await startServer();
  const response = await fetch(url + getUserPath, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"id":"1"}',
  });
  expect(await response.json()).toEqual({ user: { id: "1", displayName: "x" } });

  const answer = await new Promise<Uint8Array>((resolve, reject) => {
    const message = Buffer.from(toBinary(GetUserRequestSchema, create(GetUserRequestSchema, { id: "2" })));
    const same = (bytes: Buffer) => bytes;
    grpcClient(port).makeUnaryRequest(getUserPath, same, same, message, (error, value) =>
      value ? resolve(value) : reject(error ?? new Error("no answer")),
    );
  });
  expect(fromBinary(GetUserResponseSchema, answer).user?.id).toBe("2");
});

test("streams both ways over h2c", async () => {
  const { url } = await startServer();
  const client = createClient(OrderService, createConnectTransport({ baseUrl: url, httpVersion: "2" }));
  async function* requests() {
    for (let sequence = 0; sequence < 50; sequence++) yield { sequence };
  }
  const answered: number[] = [];
  for await (const { sequence } of client.createOrders(requests())) answered.push(sequence);
  expect(answered).toEqual([...Array(50).keys()]);
});

test.each([1, 2, 3, 5, 24, 1_000])("tells the protocols apart when bytes arrive %i at a time", async (size) => {
  const { port } = await startServer();
  const head = `POST ${getUserPath} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n`;
  expect(await exchange(port, Buffer.from(`${head}{"id":"1"}`), size)).toContain('"id":"1"');
  // The preface and an empty SETTINGS frame; the server answers with its own SETTINGS.
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1");
  expect((await exchange(port, preface, size)).charCodeAt(3)).toBe(0x04);
});

/** Sends the bytes in parts of this size, and answers the first bytes of the response. */
async function exchange(port: number, bytes: Buffer, size: number): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const answer = once(socket, "data");
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    await new Promise((resolve) => socket.write(part, () => setImmediate(resolve)));
  }
  const [data] = (await answer) as [Buffer];
  socket.destroy();
  return data.toString("latin1");
}

test("a first chunk of many requests is served whole", async () => {
  const { port } = await startServer();
  const one = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
  const last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
  const socket = connect(port, "127.0.0.1");
  socket.write(one.repeat(499) + last);
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  expect(text.split("HTTP/1.1 200 OK")).toHaveLength(501);
});

test("an offer to upgrade to h2c is ignored", async () => {
  const { port } = await startServer();
  const headers = { connection: "Upgrade, HTTP2-Settings", upgrade: "h2c", "http2-settings": "AAMAAABkAAQAAP__" };
  const [response] = await once(request({ port, path: "/livez", headers }).end(), "response");
  expect([response.statusCode, response.httpVersion]).toEqual([200, "1.1"]);
  response.resume();
});

test("allows so many streams on one connection", async () => {
  const { url } = await startServer({ limits: { maxConcurrentStreams: 7 } });
  const session = connectHttp2(url);
  const [settings] = await once(session, "remoteSettings");
  expect(settings.maxConcurrentStreams).toBe(7);
  session.destroy();
});

test("is ready as its check says, and shares a check that runs", async () => {
  let checks = 0;
  let ready = true;
  const { url, server } = await startServer({
    readiness: async () => {
      checks++;
      await new Promise(setImmediate);
      return { ready, checks: { database: ready ? "ok" : "down" } };
    },
  });
  expect(await (await fetch(`${url}/livez`)).json()).toEqual({ status: "ok" });
  const probe = await fetch(`${url}/readyz`);
  expect([probe.status, await probe.json()]).toEqual([200, { status: "ready", checks: { database: "ok" } }]);
  ready = false;
  const refused = await fetch(`${url}/readyz`);
  expect([refused.status, await refused.json()]).toEqual([503, { status: "not ready", checks: { database: "down" } }]);
  const before = checks;
  await Promise.all(Array.from({ length: 5 }, () => server.app.inject("/readyz")));
  expect(checks).toBe(before + 1);
});

test("a check that hangs or fails is not ready", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const { server } = await startServer({ readiness: () => new Promise(() => undefined) });
  const probe = server.app.inject("/readyz");
  await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0));
  await vi.advanceTimersByTimeAsync(2_000);
  expect((await probe).json()).toEqual({ status: "not ready", checks: { readiness: "timeout" } });
  const failing = await startServer({ readiness: () => Promise.reject(new Error("password=secret")) });
  expect((await failing.server.app.inject("/readyz")).body).not.toContain("secret");
});

test("serves grpc.health.v1", async () => {
  let ready = true;
  const { url, server } = await startServer({ readiness: async () => ({ ready, checks: {} }) });
  const client = createClient(Health, createConnectTransport({ baseUrl: url, httpVersion: "2" }));
  expect((await client.check({})).status).toBe(Serving.SERVING);
  expect((await client.check({ service: UserService.typeName })).status).toBe(Serving.SERVING);
  await expect(client.check({ service: "acme.Absent" })).rejects.toThrow("[not_found]");
  expect(Object.keys((await client.list({})).statuses)).toContain(OrderService.typeName);

  const absent = client.watch({ service: "acme.Absent" })[Symbol.asyncIterator]();
  expect((await absent.next()).value?.status).toBe(Serving.SERVICE_UNKNOWN);
  const watch = client.watch({})[Symbol.asyncIterator]();
  expect((await watch.next()).value?.status).toBe(Serving.SERVING);
  ready = false;
  expect((await watch.next()).value?.status).toBe(Serving.NOT_SERVING);
  ready = true;
  expect((await watch.next()).value?.status).toBe(Serving.SERVING);
  server.drain();
  expect((await watch.next()).value?.status).toBe(Serving.NOT_SERVING);
  expect((await watch.next()).done).toBe(true);
});

test("drains: calls that run finish, probes are refused, then the port is closed", async () => {
  const { server, url, port, held } = await startServer();
  const overHttp2 = userClient(url).getUser({ id: "held" });
  const overHttp1 = fetch(`${url}${getUserPath}?encoding=json&message=%7B%22id%22%3A%22held%22%7D`);
  await vi.waitFor(() => expect(held.count()).toBe(2));
  server.drain();
  const probe = await fetch(`${url}/readyz`);
  expect([probe.status, probe.headers.get("connection")]).toEqual([503, "close"]);
  await probe.body?.cancel();

  const closed = server.close(10_000);
  await vi.waitFor(() => expect(once(connect(port, "127.0.0.1"), "connect")).rejects.toThrow("ECONNREFUSED"));
  expect(server.app.server.listening).toBe(false);
  held.release();
  expect((await overHttp2).user?.id).toBe("held");
  expect((await overHttp1).headers.get("connection")).toBe("close");
  await closed;
});

function openSockets({ app }: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    app.server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

test("drains a connection: GOAWAY, the call that runs is finished, then it is closed", async () => {
  const { server, url, held } = await startServer();
  const session = connectHttp2(url);
  const first = session.request({ ":method": "POST", ":path": getUserPath, "content-type": "application/json" });
  first.end('{"id":"held"}');
  await vi.waitFor(() => expect(held.count()).toBe(1));
  const goaway = once(session, "goaway");
  server.drain();
  expect((await goaway)[0]).toBe(constants.NGHTTP2_NO_ERROR);
  held.release();
  const [headers] = await once(first, "response");
  expect(headers[":status"]).toBe(200);
  first.resume();
  await once(session, "close");
});

test("close does not wait for a client that reads nothing, nor for one that says nothing", async () => {
  const { server, url, port, logged } = await startServer();
  const silent = connect(port, "127.0.0.1");
  const stalled = connectHttp2(url);
  stalled.on("error", () => undefined);
  const path = `/${ProductService.typeName}/ListProducts`;
  const stream = stalled.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
  stream.on("error", () => undefined);
  stream.end(Buffer.from([0, 0, 0, 0, 0]));
  await once(stream, "response");
  await vi.waitFor(async () => expect(await openSockets(server)).toBe(2));

  const gone = Promise.all([once(silent, "close"), once(stalled, "close")]);
  const start = performance.now();
  await server.close(300);
  expect(performance.now() - start).toBeLessThan(1_500);
  await gone;
  expect(logged.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});

test("calls that still run are told before they are cut", async () => {
  const told: unknown[] = [];
  const { server, url } = await startServer({
    routes(router) {
      router.rpc(ProductService.method.listProducts, async function* (_request, { signal }) {
        yield {};
        await once(signal, "abort");
        told.push(signal.reason);
        throw toConnectError(signal.reason);
      });
    },
  });
  const client = createClient(ProductService, createConnectTransport({ baseUrl: url, httpVersion: "2" }));
  const stream = client.listProducts({})[Symbol.asyncIterator]();
  await stream.next();
  const [end] = await Promise.allSettled([stream.next(), server.close(1_000)]);
  expect(end).toMatchObject({ status: "rejected", reason: { rawMessage: "The server is stopping." } });
  expect(told).toMatchObject([{ reason: "OVERLOADED" }]);
});

test("a client that goes away in a stream ends its handler, without a word", async () => {
  const complaint = vi.spyOn(console, "error");
  let running = 0;
  const { url, port, logged } = await startServer({
    routes(router) {
      router.rpc(ProductService.method.listProducts, async function* (_request, { signal }) {
        running++;
        try {
          while (!signal.aborted) yield { resumeToken: "x".repeat(500_000) };
        } finally {
          running--;
        }
      });
    },
  });
  const path = `/${ProductService.typeName}/ListProducts`;
  const session = connectHttp2(url);
  for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_INTERNAL_ERROR]) {
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
    stream.on("error", () => undefined).end(Buffer.alloc(5));
    await once(stream, "response");
    stream.close(code);
  }
  const socket = connect(port, "127.0.0.1");
  const head = "host: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 5";
  socket.write(`POST ${path} HTTP/1.1\r\n${head}\r\n\r\n\0\0\0\0\0`);
  await once(socket, "data");
  expect(running).toBeGreaterThan(0);
  socket.resetAndDestroy();
  await vi.waitFor(() => expect(running).toBe(0));
  session.destroy();
  expect(complaint).not.toHaveBeenCalled();
  expect(logged).toEqual([]);
});

test("an idle connection is closed at once, over both protocols", async () => {
  const { server, url } = await startServer();
  await (await fetch(`${url}/livez`)).text();
  const session = connectHttp2(url);
  await once(session, "remoteSettings");
  const start = performance.now();
  await server.close(10_000);
  expect(performance.now() - start).toBeLessThan(1_000);
});

test("a connection that says nothing is cut", async () => {
  const { port } = await startServer({ limits: { silenceMs: 50 } });
  const socket = connect(port, "127.0.0.1");
  socket.write("P");
  await once(socket, "close");
  expect(socket.bytesRead).toBe(0);
});
