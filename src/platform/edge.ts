import type { Readable } from "node:stream";
import type { DescMethod } from "@bufbuild/protobuf";
import type { ConnectError, ConnectRouter } from "@connectrpc/connect";
import { encodeEnvelope, mergeNonProtocolHeaders } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  createEndStreamSerialization,
  endStreamFlag,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { AppError } from "./errors.ts";
import { errors } from "./errors.ts";
import { PROBLEM_TYPE, toProblem } from "./rest/problem.ts";
import { toConnectError, wireRegistry } from "./wire.ts";

/** One method as connect-es serves it over every protocol. */
export type RpcHandler = ConnectRouter["handlers"][number];

const endStream = createEndStreamSerialization({ registry: wireRegistry });

interface Refusal {
  readonly status: number;
  readonly headers: Headers;
  readonly body?: Uint8Array;
}

/** What is wanted beside what the error says, where the answer is plain HTTP. */
export interface HttpAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Answers before any handler runs, in the form that the caller's protocol gives to errors: a JSON body for Connect
 * and plain HTTP, an end-of-stream message for Connect streams, trailers for gRPC and gRPC-Web.
 */
export function refuse(request: FastifyRequest, reply: FastifyReply, error: AppError, http: HttpAnswer = {}): void {
  const refusal = isRest(request)
    ? problemRefusal(error, http)
    : refusalFor(request.headers["content-type"]?.toLowerCase() ?? "", error, http);
  reply.hijack();
  const { raw } = reply;
  if (raw.headersSent || raw.destroyed) return;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  for (const [name, value] of refusal.headers) raw.setHeader(name, value);
  const isCut = request.raw.httpVersionMajor === 1 && isUnbounded(request);
  if (isCut) raw.setHeader("connection", "close");
  // Not writeHead: over HTTP/2 the headers of an answer without a body must be its last frame (gRPC's trailers-only).
  raw.statusCode = refusal.status;
  const answer = () => raw.end(request.method === "HEAD" ? undefined : refusal.body);
  if (isCut) swallow(request.raw, answer);
  else answer();
}

const SWALLOWED_BYTES = 1_048_576;
const SWALLOWED_MS = 1_000;

/**
 * Reads a body that nobody wants, up to a limit: a client whose connection is closed while it sends does not read the
 * answer.
 */
function swallow(body: Readable, then: () => void): void {
  let bytes = 0;
  const timer = setTimeout(finish, SWALLOWED_MS).unref();
  const onData = (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > SWALLOWED_BYTES) finish();
  };
  function finish(): void {
    clearTimeout(timer);
    body.off("data", onData).off("end", finish).off("close", finish).pause();
    then();
  }
  body.on("data", onData).once("end", finish).once("close", finish);
}

/** Whether node would have to swallow a long body before the connection can be used again. */
function isUnbounded(request: FastifyRequest): boolean {
  const { "transfer-encoding": encoding, "content-length": length } = request.headers;
  return encoding !== undefined || Number(length ?? 0) > 1_048_576;
}

function refusalFor(contentType: string, error: AppError, http: HttpAnswer): Refusal {
  const wire = toConnectError(error);
  if (contentType.startsWith("application/grpc-web")) return grpcWebRefusal(contentType, wire);
  // An unknown codec gets the HTTP status that gRPC's protocol asks for.
  if (contentType.startsWith("application/grpc") && http.status !== 415) {
    const headers = setTrailerStatus(new Headers({ "content-type": contentType }), wire);
    return { status: 200, headers };
  }
  if (contentType.startsWith("application/connect+") && http.status !== 415) {
    const data = endStream.serialize({ metadata: new Headers(), error: wire });
    const headers = new Headers({ "content-type": contentType });
    return { status: 200, headers, body: encodeEnvelope(endStreamFlag, data) };
  }
  return jsonRefusal(wire, error, http);
}

function isRest({ url }: FastifyRequest): boolean {
  return url.startsWith("/api/");
}

function problemRefusal(error: AppError, http: HttpAnswer): Refusal {
  const problem = toProblem(error, http.status);
  const body = Buffer.from(JSON.stringify(problem));
  const headers = new Headers(http.headers);
  if (problem.retryAfterMs !== undefined) headers.set("retry-after", String(Math.ceil(problem.retryAfterMs / 1_000)));
  headers.set("content-type", PROBLEM_TYPE);
  headers.set("content-length", String(body.byteLength));
  return { status: problem.status, headers, body };
}

function grpcWebRefusal(contentType: string, wire: ConnectError): Refusal {
  const trailer = encodeEnvelope(trailerFlag, trailerSerialize(setTrailerStatus(new Headers(), wire)));
  const isText = contentType.startsWith("application/grpc-web-text");
  const body = isText ? Buffer.from(Buffer.from(trailer).toString("base64")) : trailer;
  return { status: 200, headers: new Headers({ "content-type": contentType }), body };
}

function jsonRefusal(wire: ConnectError, error: AppError, http: HttpAnswer): Refusal {
  const headers = new Headers(http.headers);
  mergeNonProtocolHeaders(headers, wire.metadata);
  const { retryAfterMs } = error.details;
  if (retryAfterMs !== undefined) headers.set("retry-after", String(Math.ceil(retryAfterMs / 1_000)));
  const body = errorToJsonBytes(wire, { registry: wireRegistry });
  headers.set("content-type", "application/json");
  headers.set("content-length", String(body.byteLength));
  return { status: http.status ?? codeToHttpStatus(wire.code), headers, body };
}

/**
 * Refuses what connect-es would answer without a body, or not at all: a broken host, a wrong verb, an unknown codec, a
 * bidirectional method over HTTP/1.1. Answers the error, or undefined where the call may go on.
 */
export function refuseUnservable(
  handler: RpcHandler,
  request: FastifyRequest,
  reply: FastifyReply,
): AppError | undefined {
  const [error, http] = findUnservable(handler, request) ?? [];
  if (error) refuse(request, reply, error, http);
  return error;
}

function findUnservable(
  handler: RpcHandler,
  { raw, method: verb }: FastifyRequest,
): [AppError, HttpAnswer?] | undefined {
  const { method } = handler;
  const authority = "authority" in raw ? String(raw.authority) : raw.headers.host;
  // connect-es builds a URL of it, and leaves the call unanswered where that fails.
  if (authority === undefined || !URL.canParse(`http://${authority}`)) {
    return [errors.MALFORMED_MESSAGE({ message: "The Host header cannot be read." })];
  }
  if (!handler.allowedMethods.includes(verb)) {
    const allow = handler.allowedMethods.filter(isFirst).join(", ");
    const error = errors.UNSUPPORTED_METHOD({ message: `${method.name} does not serve ${verb}, but ${allow}.` });
    return [error, { status: 405, headers: { allow } }];
  }
  if (verb === "POST" && !isServedCodec(handler, raw.headers["content-type"])) {
    const message = `${method.name} does not serve this content type, but ${codecsOf(method)}.`;
    return [errors.UNSUPPORTED_METHOD({ message }), { status: 415, headers: { "accept-post": codecsOf(method) } }];
  }
  if (method.methodKind === "bidi_streaming" && raw.httpVersionMajor === 1) {
    return [errors.UNSUPPORTED_METHOD({ message: needsHttp2(method) })];
  }
  return undefined;
}

/**
 * Whether an HTTP/1.1 request has more than one Host header. node keeps the first of them, a proxy may have kept the
 * last: https://www.rfc-editor.org/rfc/rfc9112#section-3.2 asks to refuse it.
 */
export function namesTwoHosts({ raw }: FastifyRequest): boolean {
  if (raw.httpVersionMajor !== 1) return false;
  const hosts = raw.rawHeaders.filter((text, at) => at % 2 === 0 && text.toLowerCase() === "host");
  return hosts.length > 1;
}

function isFirst<T>(value: T, index: number, all: readonly T[]): boolean {
  return all.indexOf(value) === index;
}

function isServedCodec(handler: RpcHandler, contentType = ""): boolean {
  return handler.supportedContentType(contentType) && !contentType.startsWith("application/grpc-web-text");
}

function codecsOf(method: DescMethod): string {
  const connect = method.methodKind === "unary" ? "application/" : "application/connect+";
  return ["json", "proto"]
    .map((codec) => connect + codec)
    .concat("application/grpc", "application/grpc-web")
    .join(", ");
}

/** HTTP/1.1 clients do not read while they write. Names the unary sibling where there is one. */
function needsHttp2(method: DescMethod): string {
  const sibling = `Batch${method.name}`;
  const hasSibling = method.parent.methods.some((other) => other.name === sibling && other.methodKind === "unary");
  return `${method.name} needs HTTP/2${hasSibling ? `; over HTTP/1.1 use ${sibling}` : ""}.`;
}

/** What nothing is served at: an RPC's path answers like an unknown method, everything else is not found. */
export function refuseUnknownPath(request: FastifyRequest, reply: FastifyReply): AppError {
  const path = request.url.replace(/\?.*/, "");
  const isRpc =
    /^\/[\w.]+\.\w+\/\w+$/.test(path) ||
    /^application\/(?:grpc|connect\+|proto)/.test(request.headers["content-type"] ?? "");
  const error = isRpc ? errors.UNSUPPORTED_METHOD() : errors.NOT_FOUND({ message: "There is nothing at this path." });
  refuse(request, reply, error);
  return error;
}
