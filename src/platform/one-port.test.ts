import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../../tests/support/conditions.ts";
import type { Raw } from "../../tests/limits/raw.ts";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  RST_STREAM,
  SETTINGS,
  fields,
  frame,
  openRaw,
  opening,
} from "../../tests/limits/raw.ts";
import { createOnePort } from "./one-port.ts";

const limits = {
  maxConnections: 100,
  maxConcurrentStreams: 100,
  streamResets: { burst: 1_000, perSecond: 1_000 },
  takesTurns: true,
  silenceMs: 5_000,
  headersMs: 5_000,
  requestMs: 5_000,
  idleMs: 60_000,
};

/** A port whose requests are answered once they are read, and their paths in the order in which they began. */
async function listen(): Promise<{ readonly url: string; readonly begun: readonly string[] }> {
  const begun: string[] = [];
  const port = createOnePort((request: IncomingMessage, response: ServerResponse) => {
    begun.push(request.url ?? "");
    request.resume().once("end", () => response.end());
  }, limits);
  port.server.listen(0, "127.0.0.1");
  await once(port.server, "listening");
  onTestFinished(() => {
    port.destroy();
    port.server.close();
  });
  return { url: `http://127.0.0.1:${String((port.server.address() as AddressInfo).port)}`, begun };
}

async function open(url: string): Promise<Raw> {
  const raw = openRaw(url);
  onTestFinished(() => void raw.socket.destroy());
  await raw.write(opening);
  await until(() => raw.frames.has(SETTINGS));
  return raw;
}

function call(stream: number, path: string): Buffer {
  const payload = fields({ ":method": "GET", ":scheme": "http", ":authority": "shop", ":path": path });
  return frame(HEADERS, { stream, flags: END_HEADERS | END_STREAM, payload });
}

const streams = Array.from({ length: 90 }, (_, n) => 2 * n + 1);

test("what is reset in the packet that opens it is never begun, but the first", async () => {
  const { url, begun } = await listen();
  const raw = await open(url);
  const reset = (stream: number) => frame(RST_STREAM, { stream, payload: Buffer.from([0, 0, 0, 8]) });
  await raw.write(Buffer.concat(streams.flatMap((stream) => [call(stream, `/${String(stream)}`), reset(stream)])));
  await raw.write(call(1_001, "/last"));
  await until(() => begun.includes("/last"));
  expect(begun).toEqual(["/1", "/last"]);
});

test("who sends much at once does not keep another one waiting", async () => {
  const { url, begun } = await listen();
  const [greedy, modest] = [await open(url), await open(url)];
  await Promise.all([
    greedy.write(Buffer.concat(streams.map((stream) => call(stream, "/greedy")))),
    modest.write(Buffer.concat([call(1, "/modest"), call(3, "/modest")])),
  ]);
  await until(() => begun.length === 92);
  expect(begun.lastIndexOf("/modest")).toBeLessThan(30);
});

test("bodies that have ended before their turn comes are read to the end", async () => {
  const { url, begun } = await listen();
  const raw = await open(url);
  const payload = fields({ ":method": "POST", ":scheme": "http", ":authority": "shop", ":path": "/" });
  const bodies = [Buffer.alloc(0), Buffer.from("body")];
  const calls = streams.flatMap((stream, n) => [
    frame(HEADERS, { stream, flags: END_HEADERS, payload }),
    frame(DATA, { stream, flags: END_STREAM, payload: bodies[n % 2] ?? Buffer.alloc(0) }),
  ]);
  await raw.write(Buffer.concat(calls));
  await until(() => raw.frames.get(HEADERS) === streams.length);
  expect(begun.length).toBe(streams.length);
});

test("a connection that fails while its calls wait takes nothing else with it", async () => {
  const { url, begun } = await listen();
  const raw = await open(url);
  // DATA of a stream that never was is an error of the connection.
  const broken = frame(DATA, { stream: 9_999, payload: Buffer.alloc(1) });
  await raw.write(Buffer.concat([...streams.map((stream) => call(stream, "/broken")), broken]));
  await until(() => raw.closedAfter() !== undefined);
  const other = await open(url);
  await other.write(call(1, "/other"));
  await until(() => begun.includes("/other"));
  expect(begun.filter((path) => path === "/broken").length).toBeLessThan(90);
});

test("connections that are reset as soon as they have said something take nothing else with them", async () => {
  const { url, begun } = await listen();
  const raws = Array.from({ length: 20 }, () => openRaw(url));
  await Promise.all(raws.map(({ socket }) => once(socket, "connect")));
  for (const [n, { socket }] of raws.entries()) {
    socket.write(n % 2 === 0 ? "GET / HTTP/1.1\r\nhost: shop\r\n\r\n" : opening, () => socket.resetAndDestroy());
  }
  await until(() => raws.every((raw) => raw.closedAfter() !== undefined));
  const other = await open(url);
  await other.write(call(1, "/other"));
  await until(() => begun.includes("/other"));
  expect(begun.at(-1)).toBe("/other");
});
