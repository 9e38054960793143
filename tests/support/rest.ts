import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  JsonObject,
  JsonValue,
  MessageShape,
} from "@bufbuild/protobuf";
import { create, fromJson, toJson } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { Code, ConnectError, createContextValues } from "@connectrpc/connect";
import { runStreamingCall, runUnaryCall } from "@connectrpc/connect/protocol";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.ts";
import type { FieldPath, HttpBinding } from "../../src/platform/rest/http-binding.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import type { Problem } from "../../src/platform/rest/problem.ts";
import { ERROR_DOMAIN, wireRegistry } from "../../src/platform/wire.ts";

type AnyMessage = MessageShape<DescMessage>;

/** A call as plain HTTP. */
export interface RestRequest {
  readonly verb: string;
  /** With its query. */
  readonly path: string;
  readonly body: JsonValue | undefined;
}

/** Characters of an address after which a binding with a body is taken, where there is one. */
const LONG = 4_000;

/** The request of a call; undefined where the method has no binding whose path these fields fill. */
export function toRest(method: DescMethod, request: JsonObject): RestRequest | undefined {
  const written = httpBindingsOf(method).flatMap((binding) => write(binding, request) ?? []);
  return written.find(({ path }) => path.length < LONG) ?? written.at(-1);
}

function write({ verb, path, pathFields, body }: HttpBinding, request: JsonObject): RestRequest | undefined {
  const rest = structuredClone(request);
  const values = new Map([...pathFields].map(([name, fields]) => [name, take(rest, fields)]));
  if ([...values.values()].some((value) => typeof value !== "string" || value === "")) return undefined;
  const segments = path.segments.map((segment) =>
    encodeURIComponent("literal" in segment ? segment.literal : textOf(values.get(segment.variable))),
  );
  const at = `/${segments.join("/")}${path.verb === "" ? "" : `:${path.verb}`}`;
  if (body === "request") return { verb, path: at, body: rest };
  const sent = body === "none" ? undefined : take(rest, [body]);
  const query = new URLSearchParams(flat(rest)).toString();
  return { verb, path: query === "" ? at : `${at}?${query}`, body: sent };
}

/**
 * Anything at all as a request of a method, in place of its body or of its query, with a path that is well formed;
 * undefined where the method has no binding.
 */
export function toRawRest(
  method: DescMethod,
  raw: Uint8Array,
): (Omit<RestRequest, "body"> & { body: Uint8Array }) | undefined {
  const bindings = httpBindingsOf(method);
  const binding = bindings.find(({ body }) => body !== "none") ?? bindings[0];
  if (!binding) return undefined;
  const { verb, path, body } = binding;
  const segments = path.segments.map((segment) => ("literal" in segment ? segment.literal : "x"));
  const at = `/${segments.join("/")}${path.verb === "" ? "" : `:${path.verb}`}`;
  if (body !== "none") return { verb, path: at, body: raw };
  return { verb, path: `${at}?${Buffer.from(raw).toString("hex").replaceAll(/../g, "%$&")}`, body: new Uint8Array() };
}

function take(request: JsonObject, [{ jsonName }]: FieldPath): JsonValue | undefined {
  const value = request[jsonName];
  delete request[jsonName];
  return value;
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function flat(request: JsonObject, prefix = ""): [string, string][] {
  return Object.entries(request).flatMap(([name, value]) => {
    const at = prefix + name;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return flat(value, `${at}.`);
    return [value].flat().map((each): [string, string] => [at, textOf(each)]);
  });
}

/** A transport that speaks REST, so that whatever is tested over the other protocols is tested over it. */
export function createRestTransport(baseUrl: string, interceptors: Interceptor[]): Transport {
  async function send(method: DescMethod, message: AnyMessage, header: Headers, signal: AbortSignal) {
    const request = toRest(method, toJson(method.input, message, { registry: wireRegistry }) as JsonObject);
    if (!request) throw new ConnectError("REST does not serve this", Code.Unimplemented);
    const { verb, path, body } = request;
    header.delete("content-type");
    if (body !== undefined) header.set("content-type", "application/json");
    const response = await fetch(baseUrl + path, {
      method: verb,
      headers: header,
      signal,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw toConnectError((await response.json()) as Problem);
    return response;
  }

  const transport = {
    unary: (
      method: DescMethodUnary,
      signal?: AbortSignal,
      timeoutMs?: number,
      header?: Headers,
      input?: Record<string, unknown>,
    ) =>
      runUnaryCall({
        interceptors,
        req: { ...requestOf(method, header, timeoutMs), stream: false, message: create(method.input, input) },
        ...given(signal, timeoutMs),
        async next(request) {
          const response = await send(method, request.message, request.header, request.signal);
          const message = fromJson(method.output, (await response.json()) as JsonValue, { registry: wireRegistry });
          return { ...answerOf(method, response), stream: false, message };
        },
      }),
    stream: (
      method: DescMethodStreaming,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: Headers | undefined,
      input: AsyncIterable<AnyMessage>,
    ) =>
      runStreamingCall({
        interceptors,
        req: { ...requestOf(method, header, timeoutMs), stream: true, message: input },
        ...given(signal, timeoutMs),
        async next(request) {
          if (method.methodKind !== "server_streaming") {
            throw new ConnectError(`over REST use Batch${method.name}`, Code.Unimplemented);
          }
          for await (const message of request.message) {
            const response = await send(method, message, request.header, request.signal);
            return { ...answerOf(method, response), stream: true, message: messagesOf(method, response) };
          }
          throw new ConnectError("there is no request", Code.InvalidArgument);
        },
      }),
  };
  return transport as Transport;
}

function requestOf<M extends DescMethod>(method: M, header?: Headers, timeoutMs?: number) {
  const headers = new Headers(header);
  if (timeoutMs !== undefined) headers.set("connect-timeout-ms", String(timeoutMs));
  const contextValues = createContextValues();
  return { service: method.parent, method, requestMethod: "POST", url: method.name, header: headers, contextValues };
}

function given(signal?: AbortSignal, timeoutMs?: number) {
  return { ...(signal && { signal }), ...(timeoutMs !== undefined && { timeoutMs }) };
}

function answerOf<M extends DescMethod>(method: M, { headers }: Response) {
  return { service: method.parent, method, header: headers, trailer: new Headers() };
}

async function* messagesOf(method: DescMethod, response: Response): AsyncIterable<AnyMessage> {
  for await (const line of linesOf(response)) {
    const { result, error } = JSON.parse(line) as { readonly result?: JsonValue; readonly error?: Problem };
    if (error) throw toConnectError(error);
    if (result !== undefined) yield fromJson(method.output, result, { registry: wireRegistry });
  }
}

async function* linesOf({ body }: Response): AsyncIterable<string> {
  let rest = "";
  for await (const text of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

const codes = new Map(
  Object.values(Code)
    .filter((code) => typeof code === "number")
    .map((code) => [Code[code].replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase(), code]),
);

/** The error that a problem tells of, as the other protocols carry it. */
export function toConnectError(problem: Problem): ConnectError {
  const { reason, metadata = {}, errors, preconditions, resource, quota, retryAfterMs } = problem;
  const error = new ConnectError(problem.detail, codes.get(problem.code) ?? Code.Unknown);
  const add = (desc: DescMessage, value: object) =>
    error.details.push({ desc, value: value as Record<string, unknown> });
  add(ErrorInfoSchema, { reason, domain: ERROR_DOMAIN, metadata });
  if (errors) add(BadRequestSchema, { fieldViolations: errors });
  if (preconditions) add(PreconditionFailureSchema, { violations: preconditions });
  if (resource) add(ResourceInfoSchema, resource);
  if (quota) add(QuotaFailureSchema, { violations: quota });
  if (retryAfterMs !== undefined) add(RetryInfoSchema, { retryDelay: durationFromMs(retryAfterMs) });
  return error;
}
