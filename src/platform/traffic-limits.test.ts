import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { enveloped } from "../../tests/support/wire.ts";
import { getUserPath, pathOf, startServer } from "./server.fixture.ts";

test("a body that does not come is refused and cut, over both protocols", async () => {
  const { url, port, logged } = await startServer({ limits: { requestMs: 100, headersMs: 100 } });
  const session = connectHttp2(url);
  const stream = session.request({ ":method": "POST", ":path": getUserPath, "content-type": "application/json" });
  const answer = text(stream);
  await once(stream, "close");
  expect(JSON.parse(await answer)).toMatchObject({
    code: "deadline_exceeded",
    message: "The request did not arrive within 0.1 s.",
  });
  expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
  session.destroy();
  const socket = connect(port, "127.0.0.1");
  socket.write(
    `POST ${getUserPath} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n`,
  );
  await once(socket.resume(), "close");
  expect(logged.map(({ code, reason }) => `${String(code)} ${String(reason)}`)).toEqual(
    Array(2).fill("deadline_exceeded DEADLINE"),
  );
});

const createOrdersPath = pathOf(OrderService.method.createOrders);
const streamHeaders = { ":method": "POST", ":path": createOrdersPath, "content-type": "application/connect+json" };

test("a stream upwards ends where one message drips, or none comes", async () => {
  const { url } = await startServer({ limits: { requestMs: 150, headersMs: 150, streamIdleMs: 400 } });
  const session = connectHttp2(url);
  const message = enveloped(Buffer.from('{"sequence":7}'));

  const dripping = session.request(streamHeaders);
  dripping.write(message);
  const dripped = text(dripping);
  // Each message in two parts, in time; then one that never ends.
  dripping.write(message.subarray(0, 3));
  await once(dripping, "data");
  dripping.write(Buffer.concat([message.subarray(3), message.subarray(0, 9)]));
  const drip = setInterval(() => dripping.write(" "), 40);
  await once(dripping, "close");
  clearInterval(drip);
  const told = await dripped;
  expect(told.match(/"sequence":7/g)).toHaveLength(2);
  expect(told).toContain("A message of the stream did not arrive within 0.15 s.");

  const idle = session.request(streamHeaders);
  idle.write(message);
  const answer = text(idle);
  const startedAt = performance.now();
  await once(idle, "close");
  expect(performance.now() - startedAt).toBeGreaterThan(350);
  expect(await answer).toMatch(/"sequence":7.*The next message of the stream did not arrive within 0.4 s./s);
  session.destroy();
});

test.each(["1.1", "2"] as const)("a reader that takes nothing is cut, over HTTP/%s", async (version) => {
  const ended = Promise.withResolvers<void>();
  const { url, port } = await startServer({
    limits: { streamIdleMs: 300 },
    routes(router) {
      router.service(ProductService, {
        async *listProducts() {
          try {
            for (;;) yield { resumeToken: "x".repeat(100_000) };
          } finally {
            ended.resolve();
          }
        },
      });
    },
  });
  let cut = false;
  const body = enveloped(Buffer.from("{}"));
  const type = "application/connect+json";
  const path = pathOf(ProductService.method.listProducts);
  if (version === "2") {
    const session = connectHttp2(url);
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": type });
    stream.end(body);
    stream.on("error", () => undefined);
    await once(stream, "response");
    cut = await ended.promise.then(() => true);
    session.destroy();
  } else {
    const sent = request({ port, path, method: "POST", headers: { "content-type": type } });
    sent.on("error", () => undefined).end(body);
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    response.on("error", () => undefined);
    cut = await ended.promise.then(() => true);
    sent.destroy();
  }
  expect(cut).toBe(true);
});

test("a watch that is silent for long stays, also as the connection's only use", async () => {
  const speak = Promise.withResolvers<void>();
  const { url } = await startServer({
    limits: { streamIdleMs: 50, idleMs: 50 },
    routes(router) {
      router.service(OrderService, {
        async *watchOrder() {
          yield { event: { position: 1n } };
          await speak.promise;
          yield { event: { position: 2n } };
        },
      });
    },
  });
  const client = createClient(OrderService, createConnectTransport({ baseUrl: url, httpVersion: "2" }));
  const events = client.watchOrder({ id: "1" })[Symbol.asyncIterator]();
  expect((await events.next()).value?.event?.position).toBe(1n);
  // Beside it a connection with the same limits, without a stream, is closed: that much time has passed.
  const idle = connectHttp2(url);
  await once(idle, "close");
  speak.resolve();
  expect((await events.next()).value?.event?.position).toBe(2n);
  expect((await events.next()).done).toBe(true);
});

test("HTTP/2 that does not begin is cut, and a connection too many", async () => {
  const { port } = await startServer({ limits: { headersMs: 50, maxConnections: 1 } });
  const socket = connect(port, "127.0.0.1");
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  await once(socket, "data");
  const second = connect(port, "127.0.0.1");
  await once(second.resume(), "close");
  expect(second.bytesRead).toBe(0);
  await once(socket.resume(), "close");
});
