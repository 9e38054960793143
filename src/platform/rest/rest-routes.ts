import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline as pipe } from "node:stream/promises";
import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Admit } from "../arrivals.ts";
import type { Call } from "../call.ts";
import { clientLeft } from "../client-left.ts";
import { refuse } from "../edge.ts";
import { AppError, errors } from "../errors.ts";
import type { Pipeline } from "../pipeline.ts";
import type { ServerContext } from "../server.ts";
import { limitResponse } from "../traffic-limits.ts";
import type { Answer } from "./answers.ts";
import { unaryAnswer } from "./answers.ts";
import type { HttpBinding } from "./http-binding.ts";
import { httpBindingsOf } from "./http-binding.ts";
import { readJsonBody } from "./read-body.ts";
import { readRequest } from "./request-message.ts";
import type { Match } from "./route-table.ts";
import { createRouteTable } from "./route-table.ts";
import { STREAM_TYPES, resumeField, streamBody, streamFormOf } from "./stream-answer.ts";

/** Milliseconds that a stream may take to its first message before it is begun without: a watch may be silent. */
const FIRST_MESSAGE_MS = 500;

type AnyMessage = MessageShape<DescMessage>;

/**
 * Serves every method that has an HTTP binding, below `/api/`: JSON in and out, errors as problem details, server
 * streams as lines of JSON or as events. The methods go through the same pipeline as over every other protocol.
 * @throws TypeError where a binding cannot be served
 */
export function restRoutes(app: FastifyInstance, pipeline: Pipeline, admit: Admit, context: ServerContext): void {
  const served = pipeline.services.flatMap((each) => each.service.methods.filter((method) => each.handler(method)));
  const find = createRouteTable(served.flatMap(httpBindingsOf));

  async function serve(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { pathname, search } = splitUrl(request.url);
    const verb = request.method;
    const match = find(verb === "HEAD" ? "GET" : verb, pathname);
    if (match.kind !== "found") return refuseUnmatched(match, request, reply, context);
    const { binding, variables } = match;
    const { method } = binding;
    const isStream = method.methodKind === "server_streaming";
    if (isStream && verb === "HEAD") {
      return refuseUnmatched({ kind: "other-verbs", verbs: ["GET"] }, request, reply, context);
    }
    let isCall = false;
    const arrivedAt = Date.now();
    const from = context.addressOf(request);
    try {
      const headers = webHeaders(request.headers);
      const query = readQuery(search);
      const input = readRequest(binding, {
        variables,
        headers: headerFields(method, headers, query),
        query,
        body: await readJsonBody(request.raw, request.headers, context.limits),
      });
      const arrival = { ...arrivalOf(binding, headers, request, reply, context), arrivedAt, from };
      isCall = true;
      const opened = await admit(arrival);
      try {
        if (isStream) await stream(opened.call, input, arrival.responseHeader, request, reply);
        else {
          const message = await pipeline.one(opened.call, input);
          write(reply, await unaryAnswer(method, message, { verb, headers }, arrival.responseHeader));
        }
      } finally {
        opened.close();
      }
    } catch (error) {
      const refusal = toRefusal(error, request.id);
      // Whatever the pipeline throws, it has logged.
      const answer = isCall && refusal === error ? refuse : context.refuse;
      answer(request, reply, refusal, httpOf(refusal, request, isCall));
    }
  }

  async function stream(
    call: Call,
    input: AnyMessage,
    headers: Headers,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const form = streamFormOf(request.headers.accept);
    const messages = pipeline.many(call, input)[Symbol.asyncIterator]();
    const first = messages.next();
    // What is refused before it begins is refused with its status.
    await orAfter(FIRST_MESSAGE_MS, first);
    headers.set("content-type", STREAM_TYPES[form]);
    headers.set("cache-control", "no-store");
    // nginx would keep the messages back.
    headers.set("x-accel-buffering", "no");
    const raw = head(reply, { status: 200, headers });
    // Else they go with the first message, and a client that waits for a silent stream does not know that it has begun.
    raw.flushHeaders();
    const body = streamBody(call.method, form, withFirst(first, messages), (thrown) => {
      if (!(thrown instanceof AppError)) call.log.error({ err: thrown }, "unexpected error");
      return toRefusal(thrown, call.requestId);
    });
    await pipe(Readable.from(body), raw).catch(() => undefined);
    // A client that left before the body was begun: nothing else ends the call.
    void messages.return?.().catch(() => undefined);
  }

  void app.register(async (scope) => {
    // Bodies are read here, once it is known what they are for.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", (_request, _body, done) => {
      done(null);
    });
    scope.addHook("onRequest", (_request, reply, done) => {
      limitResponse(reply.raw, context.limits.streamIdleMs);
      done();
    });
    scope.all("/api/*", async (request, reply) => {
      reply.hijack();
      await serve(request, reply);
    });
  });
}

function arrivalOf(
  { method }: HttpBinding,
  requestHeader: Headers,
  request: FastifyRequest,
  reply: FastifyReply,
  context: ServerContext,
) {
  return {
    method,
    ownId: request.id,
    timeoutMs: timeoutOf(requestHeader),
    signal: clientLeft(reply, context.stopping),
    reasonOf: (reason: unknown) => (reason instanceof AppError ? reason : errors.CANCELED()),
    requestHeader,
    responseHeader: new Headers(),
  };
}

/** The deadline that a client may give, in milliseconds, as over the Connect protocol. */
function timeoutOf(headers: Headers): number | undefined {
  const text = headers.get("connect-timeout-ms");
  if (text === null) return undefined;
  if (!/^\d{1,10}$/.test(text)) throw errors.MALFORMED_MESSAGE({ message: "Connect-Timeout-Ms is no number." });
  return Number(text);
}

function refuseUnmatched(
  match: Exclude<Match, { kind: "found" }>,
  request: FastifyRequest,
  reply: FastifyReply,
  context: ServerContext,
): void {
  if (match.kind === "unreadable") {
    return context.refuse(request, reply, errors.MALFORMED_MESSAGE({ message: "The path's escapes cannot be read." }));
  }
  if (match.kind === "nothing") {
    return context.refuse(request, reply, errors.NOT_FOUND({ message: "There is nothing at this path." }));
  }
  const allow = [...match.verbs, "OPTIONS"].join(", ");
  if (request.method === "OPTIONS") {
    return write(reply, { status: 204, headers: new Headers({ allow }), body: undefined });
  }
  const message = `This path does not serve ${request.method}, but ${allow}.`;
  context.refuse(request, reply, errors.UNSUPPORTED_METHOD({ message }), { status: 405, headers: { allow } });
}

/** What is wanted of HTTP beside the problem. */
function httpOf(error: AppError, { raw }: FastifyRequest, isCall: boolean) {
  const isBody = !isCall && error.reason === "UNSUPPORTED_METHOD";
  return {
    ...(isBody && { status: 415 }),
    headers: {
      "cache-control": "no-store",
      ...(isBody && { "accept-post": "application/json" }),
      ...(error.kind === "unauthenticated" && { "www-authenticate": "Bearer" }),
      // What was not read of a body would be taken for the next request.
      ...(!raw.readableEnded && raw.httpVersionMajor === 1 && { connection: "close" }),
    },
  };
}

function toRefusal(error: unknown, requestId: string): AppError {
  return error instanceof AppError ? error : errors.INTERNAL({ metadata: { request_id: requestId }, cause: error });
}

function splitUrl(url: string): { readonly pathname: string; readonly search: string } {
  const at = url.indexOf("?");
  return at < 0 ? { pathname: url, search: "" } : { pathname: url.slice(0, at), search: url.slice(at + 1) };
}

/** URLSearchParams lets broken escapes and broken UTF-8 pass. */
function readQuery(search: string): URLSearchParams {
  try {
    decodeURIComponent(search.replaceAll("+", " "));
  } catch (cause) {
    throw errors.MALFORMED_MESSAGE({ message: "The address's escapes cannot be read.", cause });
  }
  return new URLSearchParams(search);
}

/**
 * Values of headers that are fields of the request.
 * @throws AppError MALFORMED_MESSAGE for a condition that would not be looked at
 */
function headerFields(method: DescMethod, headers: Headers, query: URLSearchParams): ReadonlyMap<string, string> {
  if (headers.has("if-match") && method.idempotency !== Level.NO_SIDE_EFFECTS) {
    throw errors.MALFORMED_MESSAGE({
      message: "If-Match is not served; send the expectedVersion, where there is one.",
    });
  }
  const fields = new Map<string, string>();
  const key = headers.get("idempotency-key");
  if (key !== null && takesKey(method)) fields.set("idempotency_key", key.replace(/^"(.*)"$/, "$1"));
  const last = headers.get("last-event-id");
  const resumes = method.input.fields.find(({ name }) => name === resumeField(method));
  if (last !== null && resumes) {
    fields.set(resumes.name, last);
    // A browser comes back to the same address: what it saw last is newer than what that says.
    for (const name of [resumes.name, resumes.jsonName]) query.delete(name);
  }
  return fields;
}

/** @throws AppError MALFORMED_MESSAGE where each item has a key of its own: one for all would be a false promise */
function takesKey({ input, name }: DescMethod): boolean {
  if (input.fields.some((field) => field.name === "idempotency_key")) return true;
  const ofItems = input.fields.some((field) => field.message?.fields.some((inner) => inner.name === "idempotency_key"));
  if (!ofItems) return false;
  throw errors.MALFORMED_MESSAGE({ message: `${name} takes the idempotency keys in its body, one of each item.` });
}

function webHeaders(headers: IncomingHttpHeaders): Headers {
  const pairs = Object.entries(headers).flatMap(([name, value]): [string, string][] => {
    if (value === undefined || name.startsWith(":")) return [];
    return [[name, Array.isArray(value) ? value.join(", ") : value]];
  });
  try {
    return new Headers(pairs);
  } catch (cause) {
    throw errors.MALFORMED_MESSAGE({ message: "A header cannot be read.", cause });
  }
}

function head(reply: FastifyReply, { status, headers }: Pick<Answer, "status" | "headers">): ServerResponse {
  const { raw } = reply;
  raw.statusCode = status;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  for (const [name, value] of headers) {
    const set = name === "vary" ? raw.getHeader(name) : undefined;
    raw.setHeader(name, set === undefined ? value : `${String(set)}, ${value}`);
  }
  return raw;
}

function write(reply: FastifyReply, answer: Answer): void {
  if (!reply.raw.destroyed) head(reply, answer).end(answer.body);
}

/** Resolves with the work, or without it where it takes longer. */
async function orAfter(ms: number, work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => {
    resolve(undefined);
  }, ms);
  try {
    await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The messages again, of which the first is asked for already. */
function withFirst<T>(first: Promise<IteratorResult<T>>, rest: AsyncIterator<T>): AsyncIterator<T> {
  let given = false;
  return {
    next() {
      if (given) return rest.next();
      given = true;
      return first;
    },
    return: async () => (await rest.return?.()) ?? { done: true, value: undefined },
  };
}
