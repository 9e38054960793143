import { gzipSync } from "node:zlib";
import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { fromBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import type { Client, ServiceError } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";
import { getUserPath, grpcClient, pathOf, startServer } from "./server.fixture.ts";

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly reason: string;
}

type Envelope = {
  readonly code?: string;
  readonly message?: string;
  readonly details?: { type: string; value: string }[];
};

function fromJsonError(error: Envelope | undefined): Refusal {
  const infos = error?.details?.filter(({ type }) => type === ErrorInfoSchema.typeName) ?? [];
  expect(infos).toHaveLength(1);
  const info = fromBinary(ErrorInfoSchema, base64Decode(infos[0]?.value ?? ""));
  expect(info.domain).toBe("connect-commerce");
  return { code: error?.code ?? "", message: error?.message ?? "", reason: info.reason };
}

async function post(
  url: string,
  path: string,
  contentType: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
) {
  const response = await fetch(url + path, {
    method: "POST",
    headers: { "content-type": contentType, ...headers },
    body,
  });
  return { status: response.status, headers: response.headers, bytes: new Uint8Array(await response.arrayBuffer()) };
}

type Answer = Awaited<ReturnType<typeof post>>;

function unaryRefusal({ bytes, headers }: Answer): Refusal {
  expect(headers.get("content-type")).toBe("application/json");
  return fromJsonError(JSON.parse(Buffer.from(bytes).toString()));
}

/** The error in the last envelope of a Connect stream. */
function streamRefusal({ status, bytes }: Answer): Refusal {
  expect([status, bytes[0]]).toEqual([200, 2]);
  return fromJsonError(JSON.parse(Buffer.from(bytes.subarray(5)).toString()).error);
}

function webRefusal({ status, bytes }: Answer): Refusal {
  expect([status, bytes[0]]).toEqual([200, 0x80]);
  const lines = Buffer.from(bytes.subarray(5)).toString().split("\r\n");
  const trailer = new Map(lines.map((line) => line.split(": ") as [string, string]));
  return statusRefusal(base64Decode(trailer.get("grpc-status-details-bin") ?? ""));
}

const grpcCodes: Record<number, string> = { 3: "invalid_argument", 8: "resource_exhausted", 12: "unimplemented" };

function statusRefusal(bytes: Uint8Array): Refusal {
  const { code, message, details } = fromBinary(StatusSchema, bytes);
  expect(details.map(({ typeUrl }) => typeUrl)).toEqual(["type.googleapis.com/google.rpc.ErrorInfo"]);
  const info = fromBinary(ErrorInfoSchema, details[0]?.value ?? new Uint8Array());
  return { code: grpcCodes[code] ?? String(code), message, reason: info.reason };
}

/** What gRPC answers to these very bytes. */
function grpcRefusal(client: Client, path: string, bytes: Uint8Array, streams = false): Promise<Refusal> {
  const same = (value: Buffer) => value;
  return new Promise((resolve, reject) => {
    const onError = (error: ServiceError | null) => {
      const [status] = error?.metadata.get("grpc-status-details-bin") ?? [];
      if (status instanceof Uint8Array) resolve(statusRefusal(status));
      else reject(error ?? new Error("no error"));
    };
    if (!streams) return void client.makeUnaryRequest(path, same, same, Buffer.from(bytes), onError);
    const call = client.makeBidiStreamRequest(path, same, same).on("error", onError).resume();
    call.end(Buffer.from(bytes));
  });
}

function enveloped(bytes: Uint8Array, flags = 0): Uint8Array<ArrayBuffer> {
  const envelope = Buffer.alloc(5 + bytes.length);
  envelope.writeUInt8(flags);
  envelope.writeUInt32BE(bytes.length, 1);
  envelope.set(bytes, 5);
  return new Uint8Array(envelope);
}

const listProducts = pathOf(ProductService.method.listProducts);
const createOrders = pathOf(OrderService.method.createOrders);
/** Field 1 promises ten bytes and has one. */
const truncated = new Uint8Array([0x0a, 10, 1]);
const malformed = { code: "invalid_argument", reason: "MALFORMED_MESSAGE" };
const tooLarge = { code: "resource_exhausted", reason: "MESSAGE_TOO_LARGE" };
const unsupported = { code: "unimplemented", reason: "UNSUPPORTED_METHOD" };

test.each([
  ["truncated binary", "application/proto", truncated],
  ["binary that is not UTF-8", "application/proto", new Uint8Array([0x0a, 2, 0xff, 0xfe])],
  ["broken JSON", "application/json", '{"id":'],
  ["a wrong JSON type", "application/json", '{"id":1}'],
  ["an unknown JSON field", "application/json", '{"id":"1","price":0}'],
  ["an endless unknown JSON field", "application/json", `{"${"x".repeat(5_000)}":1}`],
  [
    "JSON that is not UTF-8",
    "application/json",
    new Uint8Array([...Buffer.from('{"id":"'), 0xff, ...Buffer.from('"}')]),
  ],
])("%s is malformed", async (_name, type, body) => {
  const { url, logged } = await startServer();
  const answer = await post(url, getUserPath, type, body);
  expect(answer.status).toBe(400);
  expect(unaryRefusal(answer)).toMatchObject(malformed);
  expect(logged).toMatchObject([
    {
      level: 30,
      method: getUserPath.slice(1),
      requestId: answer.headers.get("x-request-id"),
      reason: "MALFORMED_MESSAGE",
      msg: "refused",
    },
  ]);
});

test("broken gzip and a wrong length are malformed, an unknown compression unsupported", async () => {
  const { url } = await startServer();
  const half = gzipSync('{"id":"1"}').subarray(0, 12);
  const gzip = { "content-encoding": "gzip" };
  expect(unaryRefusal(await post(url, getUserPath, "application/json", half, gzip))).toMatchObject(malformed);
  expect(unaryRefusal(await post(url, getUserPath, "application/json", "no gzip", gzip))).toMatchObject(malformed);
  const zstd = await post(url, getUserPath, "application/json", "{}", { "content-encoding": "zstd" });
  expect(unaryRefusal(zstd)).toMatchObject(unsupported);
  const bad = await post(url, getUserPath, "application/json", '{"id":"1"}', { "connect-timeout-ms": "soon" });
  expect(unaryRefusal(bad)).toMatchObject(malformed);
});

test("a malformed message is told in every protocol", async () => {
  const { url, port, logged } = await startServer();
  const body = enveloped(truncated);
  expect(streamRefusal(await post(url, listProducts, "application/connect+proto", body))).toMatchObject(malformed);
  expect(webRefusal(await post(url, getUserPath, "application/grpc-web+proto", body))).toMatchObject(malformed);
  const client = grpcClient(port);
  expect(await grpcRefusal(client, getUserPath, truncated)).toMatchObject(malformed);
  expect(await grpcRefusal(client, createOrders, truncated, true)).toMatchObject(malformed);
  expect(logged.map(({ msg }) => msg)).toEqual(["refused", "refused", "refused", "refused"]);
});

test("a message over its limit is told in every protocol, also when it is inflated", async () => {
  const { url, port } = await startServer();
  const large = Buffer.alloc(2_000_000, 32);
  const json = await post(url, getUserPath, "application/json", large);
  expect([json.status, unaryRefusal(json)]).toMatchObject([429, tooLarge]);
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  const gzip = { "content-encoding": "gzip" };
  expect(unaryRefusal(await post(url, getUserPath, "application/json", bomb, gzip))).toMatchObject(tooLarge);
  const stream = await post(url, listProducts, "application/connect+json", enveloped(large));
  expect(streamRefusal(stream)).toMatchObject(tooLarge);
  const inflating = await post(url, listProducts, "application/connect+json", enveloped(bomb, 1), {
    "connect-content-encoding": "gzip",
  });
  expect(streamRefusal(inflating)).toMatchObject(tooLarge);
  expect(webRefusal(await post(url, getUserPath, "application/grpc-web+proto", enveloped(large)))).toMatchObject(
    tooLarge,
  );
  expect(await grpcRefusal(grpcClient(port), getUserPath, large)).toMatchObject(tooLarge);
});

test.each([
  ["application/json", unaryRefusal],
  ["application/proto", unaryRefusal],
  ["application/connect+json", streamRefusal],
  ["application/grpc-web+proto", webRefusal],
  [
    "application/grpc-web-text",
    (answer: Answer) => webRefusal({ ...answer, bytes: base64Decode(Buffer.from(answer.bytes).toString()) }),
  ],
] as const)("an unknown method is unsupported in %s", async (type, refusalOf) => {
  const { url } = await startServer();
  const answer = await post(url, "/commerce.user.v1.UserService/DropUsers", type, "");
  expect(refusalOf(answer)).toMatchObject(unsupported);
  expect(answer.status).toBe(refusalOf === unaryRefusal ? 501 : 200);
});

test("an unknown method is unsupported in gRPC", async () => {
  const { port } = await startServer();
  expect(await grpcRefusal(grpcClient(port), "/commerce.user.v1.UserService/Drop", truncated)).toMatchObject(
    unsupported,
  );
});

test("a verb, a codec and a path that are not served", async () => {
  const { url } = await startServer();
  const put = await fetch(url + getUserPath, { method: "PUT" });
  expect([put.status, put.headers.get("allow")]).toEqual([405, "POST, GET"]);
  expect(fromJsonError((await put.json()) as Envelope)).toMatchObject(unsupported);
  for (const type of [
    "text/xml",
    "application/grpc+thrift",
    "application/connect+json",
    "application/json; charset=latin1",
  ]) {
    const answer = await post(url, getUserPath, type, "");
    expect([type, answer.status]).toEqual([type, 415]);
    expect(unaryRefusal(answer)).toMatchObject(unsupported);
  }
  const noMessage = await fetch(url + getUserPath);
  expect(noMessage.status).toBe(415);
  expect(fromJsonError((await noMessage.json()) as Envelope)).toMatchObject(unsupported);
  const nothing = await fetch(`${url}/nothing/here`);
  expect(nothing.status).toBe(404);
  expect(fromJsonError((await nothing.json()) as Envelope)).toMatchObject({ code: "not_found", reason: "NOT_FOUND" });
  expect((await fetch(`${url}/%zz`)).status).toBe(400);
});

test("CreateOrders over HTTP/1.1 names its unary sibling", async () => {
  const { url } = await startServer();
  const refusal = streamRefusal(await post(url, createOrders, "application/connect+json", ""));
  expect(refusal).toMatchObject(unsupported);
  expect(refusal.message).toBe("CreateOrders needs HTTP/2; over HTTP/1.1 use BatchCreateOrders.");
});

test("a host that is none is answered", async () => {
  const { port } = await startServer();
  const socket = connect(port, "127.0.0.1");
  socket.end(`GET ${getUserPath}?encoding=json&message=%7B%7D HTTP/1.1\r\nhost: a b:x\r\n\r\n`);
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  expect(text).toMatch(/^HTTP\/1.1 400 /);
  expect(text).toContain("MALFORMED_MESSAGE");
});

test("errors of handlers are left as they are", async () => {
  const { url, logged } = await startServer();
  const answer = await post(url, getUserPath, "application/json", '{"id":"absent"}', { "accept-encoding": "gzip" });
  expect(unaryRefusal(answer)).toEqual({ code: "not_found", message: "There is no user absent.", reason: "NOT_FOUND" });
  const bug = await post(url, getUserPath, "application/json", '{"id":"bug"}');
  expect(unaryRefusal(bug)).toMatchObject({ code: "internal", reason: "INTERNAL" });
  expect(logged).toEqual([]);
});

test("a client that still sends its body reads why it is refused", async () => {
  const { url } = await startServer();
  const chunk = Buffer.alloc(16_384, " ");
  for (let n = 0; n < 50; n += 1) {
    const sent = request(`${url}/commerce.user.v1.UserService/NoSuchMethod`, {
      method: "POST",
      headers: { "content-type": "application/json" },
    });
    const answered = once(sent, "response");
    for (let part = 0; part < 10; part += 1) {
      sent.write(chunk);
      // Its parts come one by one, as those of a program that makes them do.
      await new Promise(setImmediate);
    }
    sent.end();
    const [response] = (await answered) as [IncomingMessage];
    expect(response.statusCode).toBe(501);
    expect(await text(response)).toContain("UNSUPPORTED_METHOD");
  }
});
