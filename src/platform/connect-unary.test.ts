import { request as requestHttp1 } from "node:http";
import type { ClientHttp2Stream } from "node:http2";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import type { Duplex } from "node:stream";
import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import { GetUserResponseSchema } from "#gen/commerce/user/v1/user_pb.ts";
import { until } from "../../tests/support/conditions.ts";
import type { Arrival } from "./arrivals.ts";
import { errors } from "./errors.ts";
import { getUserPath, startServer } from "./server.fixture.ts";

// What both ways have in common is compared by tests/journeys/connect-unary.test.ts.

/** A server whose calls wait until their signal aborts, and fail with its reason as the pipeline does. */
async function startWaiting(limits = {}) {
  const arrivals: Arrival[] = [];
  const started = await startServer({
    limits,
    unary: {
      serves: () => true,
      async carryOut(arrival) {
        arrivals.push(arrival);
        await new Promise((resolve) => arrival.signal.addEventListener("abort", resolve, { once: true }));
        throw arrival.reasonOf(arrival.signal.reason);
      },
    },
  });
  return { ...started, arrivals };
}

/** Begins a call, and answers the stream of its request. */
const begin = {
  "HTTP/1.1": (url: string, length: number) =>
    requestHttp1(`${url}${getUserPath}`, {
      method: "POST",
      headers: { "content-type": "application/json", "content-length": length },
    }),
  "HTTP/2": (url: string, length: number): Duplex => {
    const session = connect(url);
    onTestFinished(() => {
      session.destroy();
    });
    return session.request({
      ":method": "POST",
      ":path": getUserPath,
      "content-type": "application/json",
      "content-length": String(length),
    });
  },
};
const versions = Object.entries(begin);

test.each(versions)("a client that leaves ends its call, over %s", async (_version, open) => {
  const { url, arrivals, logged } = await startWaiting();
  const request = open(url, 2).on("error", () => undefined);
  request.end("{}");
  await until(() => arrivals.length === 1);
  expect(arrivals[0]?.signal.aborted).toBe(false);
  request.destroy();
  await until(() => arrivals[0]?.signal.aborted === true);
  expect(logged.filter(({ level }) => level === 50)).toEqual([]);
});

test.each(versions)("a client that leaves before all is said makes no call, over %s", async (_version, open) => {
  const { url, arrivals, logged } = await startWaiting();
  const request = open(url, 10).on("error", () => undefined);
  await new Promise((resolve) => request.write("{", resolve));
  // What is taken back in the same packet does not even begin.
  if ("session" in request) await new Promise((resolve) => (request as ClientHttp2Stream).session?.ping(resolve));
  request.destroy();
  await until(() => logged.some(({ code }) => code === "canceled"));
  expect(arrivals).toEqual([]);
});

test.each(versions)("a body that does not come in time is refused, over %s", async (_version, open) => {
  const { url, arrivals, logged } = await startWaiting({ headersMs: 200, requestMs: 200 });
  const request = open(url, 10).on("error", () => undefined);
  request.write("{");
  await until(() => logged.some(({ reason }) => reason === "DEADLINE"));
  expect(arrivals).toEqual([]);
  request.destroy();
});

test("a call has begun when its request began to arrive", async () => {
  const { url, arrivals } = await startWaiting();
  const request = begin["HTTP/1.1"](url, 2).on("error", () => undefined);
  await new Promise((resolve) => request.write("{", resolve));
  const halfAt = Date.now();
  await until(() => Date.now() > halfAt + 50);
  request.end("}");
  await until(() => arrivals.length === 1);
  expect(arrivals[0]?.arrivedAt).toBeLessThan(halfAt + 50);
  request.destroy();
});

test("more than there may be, without saying how much, is refused while it comes", async () => {
  const { port } = await startWaiting({ messageBytes: 1_000 });
  const socket = connectSocket(port, "127.0.0.1").setEncoding("latin1");
  onTestFinished(() => {
    socket.destroy();
  });
  const chunk = `3e8\r\n${"x".repeat(1_000)}\r\n`;
  socket.write(
    `POST ${getUserPath} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
  );
  socket.write(chunk.repeat(2));
  let answer = "";
  for await (const text of socket as AsyncIterable<string>) answer += text;
  expect(answer).toMatch(/^HTTP\/1\.1 429 /);
  expect(answer).toMatch(/\r\nconnection: close\r\n/i);
  expect(answer).toContain("MESSAGE_TOO_LARGE");
});

test("a server that stops says so to calls that still run", async () => {
  const { url, server, arrivals } = await startWaiting();
  const answer = fetch(`${url}${getUserPath}`, {
    method: "POST",
    body: "{}",
    headers: { "content-type": "application/json" },
  });
  await until(() => arrivals.length === 1);
  await server.close(1_000);
  const answered = await answer;
  expect([answered.status, await answered.text()]).toEqual([503, expect.stringContaining("OVERLOADED")]);
});

test("an error that nobody meant is an internal one, without its words, and is logged", async () => {
  const { url, logged } = await startServer({
    unary: { serves: () => true, carryOut: () => Promise.reject(new Error("a secret")) },
  });
  const answer = await fetch(`${url}${getUserPath}`, {
    method: "POST",
    body: "{}",
    headers: { "content-type": "application/json" },
  });
  const body = await answer.text();
  expect([answer.status, body]).toEqual([500, expect.stringContaining("INTERNAL")]);
  expect(body).not.toContain("secret");
  await until(() => logged.some(({ level }) => level === 50));
});

test("an answer that cannot be written is one, too", async () => {
  const broken = create(GetUserResponseSchema, { user: { displayName: "x" } });
  if (broken.user) broken.user.displayName = 1 as unknown as string;
  const { url } = await startServer({ unary: { serves: () => true, carryOut: () => Promise.resolve(broken) } });
  const answer = await fetch(`${url}${getUserPath}`, {
    method: "POST",
    body: "{}",
    headers: { "content-type": "application/proto" },
  });
  expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("MALFORMED_MESSAGE")]);
  const json = await fetch(`${url}${getUserPath}`, {
    method: "POST",
    body: "{}",
    headers: { "content-type": "application/json" },
  });
  expect([json.status, await json.text()]).toEqual([500, expect.stringContaining("INTERNAL")]);
});

test("what is refused keeps its headers and its details", async () => {
  const { url } = await startServer({
    unary: { serves: () => true, carryOut: () => Promise.reject(errors.RATE_LIMITED({ retryAfterMs: 2_000 })) },
  });
  const answer = await fetch(`${url}${getUserPath}`, {
    method: "POST",
    body: "{}",
    headers: { "content-type": "application/json" },
  });
  expect(answer.headers.get("content-type")).toBe("application/json");
  expect([answer.status, await answer.text()]).toEqual([429, expect.stringContaining("retryDelay")]);
});
