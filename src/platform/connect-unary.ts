import type { DescMessage, DescMethod, DescMethodUnary, MessageShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { compressionGzip } from "@connectrpc/connect-node";
import { createMethodSerializationLookup, mergeNonProtocolHeaders } from "@connectrpc/connect/protocol";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Arrival } from "./arrivals.ts";
import { readBody } from "./body.ts";
import { clientLeft } from "./client-left.ts";
import { AppError, errors } from "./errors.ts";
import type { ServerContext } from "./server.ts";
import { fromInboundError, jsonOptions, toConnectError, wireRegistry } from "./wire.ts";

type AnyMessage = MessageShape<DescMessage>;

/** Bytes from which a body is worth compressing, as connect-es has it. */
const COMPRESSED_FROM = 1_024;
/** What a timer can hold. */
const MOST_TIMEOUT_MS = 2 ** 31 - 1;

/** The unary methods of a role, to be called with a message. */
export interface UnaryCalls {
  serves(method: DescMethod): boolean;
  /** @throws AppError, which is logged */
  carryOut(arrival: Arrival, input: AnyMessage): Promise<AnyMessage>;
}

export interface UnaryOptions {
  readonly calls: UnaryCalls;
  readonly context: Omit<ServerContext, "refuse">;
  /** Whether an unknown JSON field is refused. */
  readonly strictJson: boolean;
  /** Hears of a message that cannot be read or written. */
  readonly onRefused: (error: AppError, path: string, requestId: string) => void;
}

/** Serves one method's plain calls. Answers whether the request is one. */
export type ServeUnary = (request: FastifyRequest, reply: FastifyReply) => boolean;

/**
 * Serves plain unary calls of the Connect protocol (https://connectrpc.com/docs/protocol#unary-request) without the
 * framework, which spends most of a call's time on being general. Plain is a POST that says nothing of an encoding. What
 * else there is, the framework serves, with the same answers: tests/journeys/connect-unary.test.ts compares them. Only
 * the words about a body that is late or too large differ.
 * @returns undefined where the method is not unary, or not one of these calls
 */
export function createUnary(method: DescMethod, options: UnaryOptions): ServeUnary | undefined {
  const { calls, context, onRefused } = options;
  const { limits } = context;
  if (method.methodKind !== "unary" || !calls.serves(method)) return undefined;
  const path = `/${method.parent.typeName}/${method.name}`;
  const codecs = createMethodSerializationLookup(method as DescMethodUnary, {}, jsonOptions(options.strictJson), {
    readMaxBytes: limits.messageBytes,
    writeMaxBytes: 2 ** 32 - 1,
  });

  function read(isBinary: boolean, body: Uint8Array): AnyMessage {
    try {
      return codecs.getI(isBinary).parse(body);
    } catch (error) {
      throw fromInboundError(ConnectError.from(error));
    }
  }

  function write(isBinary: boolean, message: AnyMessage): Uint8Array {
    try {
      return codecs.getO(isBinary).serialize(message);
    } catch (cause) {
      throw errors.INTERNAL({ cause });
    }
  }

  async function serve(request: FastifyRequest, reply: FastifyReply, form: Form): Promise<void> {
    const { raw } = reply;
    let isCall = false;
    try {
      const arrivedAt = Date.now();
      const signal = clientLeft(reply, context.stopping);
      const from = context.addressOf(request);
      const input = read(form.isBinary, await readBody(request.raw, request.headers, limits));
      isCall = true;
      const output = await calls.carryOut(
        {
          method,
          ownId: request.id,
          from,
          arrivedAt,
          timeoutMs: form.timeoutMs,
          signal,
          reasonOf: (reason) => (reason instanceof AppError ? reason : errors.CANCELED()),
          requestHeader: { get: (name) => valueOf(request.headers[name]) },
          responseHeader: { set: (name, value) => raw.headersSent || raw.setHeader(name, value) },
        },
        input,
      );
      isCall = false;
      await send(
        request,
        reply,
        200,
        form.isBinary ? "application/proto" : "application/json",
        write(form.isBinary, output),
      );
    } catch (error) {
      const refusal = error instanceof AppError ? error : errors.INTERNAL({ cause: error });
      if (!isCall || refusal !== error) onRefused(refusal, path, request.id);
      await sendError(request, reply, toConnectError(refusal));
    }
  }

  return (request, reply) => {
    const form = plainForm(request, limits.messageBytes);
    if (!form) return false;
    reply.hijack();
    for (const [name, value] of Object.entries(reply.getHeaders()))
      if (value !== undefined) reply.raw.setHeader(name, value);
    void serve(request, reply, form);
    return true;
  };
}

interface Form {
  readonly isBinary: boolean;
  readonly timeoutMs: number | undefined;
}

/** How the call is written, or undefined where anything about it is out of the ordinary. */
function plainForm({ method, headers }: FastifyRequest, mostBytes: number): Form | undefined {
  const isBinary = headers["content-type"] === "application/proto";
  if (method !== "POST" || (!isBinary && headers["content-type"] !== "application/json")) return undefined;
  if (headers["content-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > mostBytes) return undefined;
  const timeout = headers["connect-timeout-ms"];
  if (timeout === undefined) return { isBinary, timeoutMs: undefined };
  if (typeof timeout !== "string" || !/^\d{1,10}$/.test(timeout) || Number(timeout) > MOST_TIMEOUT_MS) return undefined;
  return { isBinary, timeoutMs: Number(timeout) };
}

function valueOf(value: string | readonly string[] | undefined): string | null {
  return (typeof value === "object" ? value.join(", ") : value) ?? null;
}

async function sendError(request: FastifyRequest, reply: FastifyReply, error: ConnectError): Promise<void> {
  const headers = new Headers();
  mergeNonProtocolHeaders(headers, error.metadata);
  // What was not read of a body would be taken for the next request.
  if (request.raw.httpVersionMajor === 1 && !request.raw.readableEnded) headers.set("connection", "close");
  if (!reply.raw.headersSent) for (const [name, value] of headers) reply.raw.setHeader(name, value);
  const body = errorToJsonBytes(error, { registry: wireRegistry });
  await send(request, reply, codeToHttpStatus(error.code), "application/json", body);
}

async function send(
  { headers }: FastifyRequest,
  { raw }: FastifyReply,
  status: number,
  type: string,
  body: Uint8Array,
): Promise<void> {
  const isCompressed = body.byteLength >= COMPRESSED_FROM && takesGzip(headers["accept-encoding"]);
  const sent = isCompressed ? await compressionGzip.compress(new Uint8Array(body)) : body;
  if (raw.destroyed || raw.headersSent) return;
  raw.statusCode = status;
  raw.setHeader("content-type", type);
  if (isCompressed) raw.setHeader("content-encoding", "gzip");
  raw.setHeader("content-length", sent.byteLength);
  raw.end(sent);
}

/** As connect-es reads it: by name, without weights. */
function takesGzip(accepted: string | readonly string[] | undefined): boolean {
  return (valueOf(accepted) ?? "").split(",").some((name) => name.trim() === "gzip");
}
