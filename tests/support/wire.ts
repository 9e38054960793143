import { connect, constants } from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import type { DescMessage, DescMethod, JsonObject, JsonValue, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Account } from "./accounts.ts";
import { admin, tokenOf } from "./accounts.ts";
import type { Problem } from "../../src/platform/rest/problem.ts";
import { PROBLEM_TYPE } from "../../src/platform/rest/problem.ts";
import { toRawRest, toRest } from "./rest.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";

/** The forms in which a call goes over the wire. */
export const wires = ["Connect JSON", "Connect binary", "gRPC", "gRPC-Web", "REST"] as const;
export type Wire = (typeof wires)[number];

/** What is sent: bytes as they are, or text where the form is JSON. */
export interface Payload {
  readonly binary: Uint8Array;
  readonly json: string | Uint8Array;
}

/** An answer, whatever its form. */
export interface Answer {
  /** Of the HTTP response. */
  readonly status: number;
  /** `ok`, or the code as Connect writes it. */
  readonly code: string;
  /** Of every ErrorInfo: there must be one. */
  readonly reasons: readonly string[];
  /** Of the BadRequest. */
  readonly fields: readonly string[];
  readonly message: string;
  readonly requestId: string;
}

export function payloadOf<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Payload {
  const message = create(schema, init);
  return { binary: toBinary(schema, message), json: JSON.stringify(toJson(schema, message)) };
}

export interface Sender {
  /** @param compressed says that the payload is gzip, whether it is or not. */
  send(method: DescMethod, payload: Payload, compressed?: boolean): Promise<Answer>;
  close(): void;
}

/** Sends payloads as they are, so that they may be anything but right; as the admin unless said otherwise. */
export function openSender(wire: Wire, url: string, account: Account | "nobody" = admin): Sender {
  const session = connect(url);
  return {
    async send(method, payload, compressed = false) {
      const authorization = account !== "nobody" && { authorization: `Bearer ${await tokenOf(url, account)}` };
      if (wire === "REST") return sendRest(session, method, Buffer.from(payload.json), compressed, authorization);
      const isStream = method.methodKind !== "unary";
      const json = wire === "Connect JSON";
      const raw = Buffer.from(json ? payload.json : payload.binary);
      const body = isStream || wire.startsWith("gRPC") ? enveloped(raw, compressed ? 1 : 0) : raw;
      const type = {
        "Connect JSON": isStream ? "connect+json" : "json",
        "Connect binary": isStream ? "connect+proto" : "proto",
        gRPC: "grpc+proto",
        "gRPC-Web": "grpc-web+proto",
      }[wire];
      const answer = await exchange(
        session,
        {
          [constants.HTTP2_HEADER_PATH]: `/${method.parent.typeName}/${method.name}`,
          [constants.HTTP2_HEADER_METHOD]: "POST",
          "content-type": `application/${type}`,
          ...authorization,
          ...(wire === "gRPC" && { te: "trailers" }),
          ...(compressed && { [encodingHeader(wire, isStream)]: "gzip" }),
        },
        body,
      );
      return read(wire, isStream, answer);
    },
    close() {
      session.close();
    },
  };
}

async function sendRest(
  session: ClientHttp2Session,
  method: DescMethod,
  json: Buffer,
  compressed: boolean,
  authorization: object | false,
): Promise<Answer> {
  const object = parsed(json);
  const request = (object && toRest(method, object)) ?? toRawRest(method, json);
  if (!request) throw new TypeError(`REST does not serve ${method.name}`);
  const { verb, path, body } = request;
  const sent = body instanceof Uint8Array ? body : Buffer.from(body === undefined ? "" : JSON.stringify(body));
  const answer = await exchange(
    session,
    {
      [constants.HTTP2_HEADER_PATH]: path,
      [constants.HTTP2_HEADER_METHOD]: verb,
      ...(sent.length > 0 && { "content-type": "application/json" }),
      ...(compressed && { "content-encoding": "gzip" }),
      ...authorization,
    },
    Buffer.from(sent),
  );
  return readRest(answer);
}

/** The object that a text is in JSON; undefined where it is none. */
function parsed(json: Buffer): JsonObject | undefined {
  try {
    const value = JSON.parse(json.toString()) as JsonValue;
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function readRest({ headers, body }: Http): Answer {
  const answer = { status: Number(headers[constants.HTTP2_HEADER_STATUS]), requestId: text(headers["x-request-id"]) };
  if (headers["content-type"] !== PROBLEM_TYPE) {
    const last = body.toString().trimEnd().split("\n").at(-1) ?? "";
    const { error } = (last.startsWith('{"error":') ? JSON.parse(last) : {}) as { error?: Problem };
    return { ...answer, ...(error ? fromProblem(error) : ok) };
  }
  return { ...answer, ...fromProblem(JSON.parse(body.toString()) as Problem) };
}

function fromProblem({ code, reason, detail, errors = [] }: Problem): Told {
  const fields = errors.map((error) => ("field" in error ? String(error.field) : ""));
  return { code: code.toLowerCase(), reasons: [reason], fields, message: detail };
}

function encodingHeader(wire: Wire, isStream: boolean): string {
  if (wire.startsWith("gRPC")) return "grpc-encoding";
  return isStream ? "connect-content-encoding" : "content-encoding";
}

type HttpHeaders = Readonly<Record<string, string | string[] | number | undefined>>;

function text(header: HttpHeaders[string]): string {
  return header === undefined ? "" : String(header);
}

interface Http {
  readonly headers: HttpHeaders;
  readonly trailers: HttpHeaders;
  readonly body: Buffer;
}

function exchange(session: ClientHttp2Session, headers: Record<string, string>, body: Buffer): Promise<Http> {
  return new Promise((resolve, reject) => {
    // Node ends requests of some methods by itself.
    const stream = session.request(headers, { endStream: false });
    const chunks: Buffer[] = [];
    let answered: HttpHeaders = {};
    let trailers: HttpHeaders = {};
    stream.on("response", (received) => {
      answered = received;
    });
    stream.on("trailers", (received) => {
      trailers = received;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("end", () => {
      resolve({ headers: answered, trailers, body: Buffer.concat(chunks) });
    });
    stream.end(body);
  });
}

function read(wire: Wire, isStream: boolean, { headers, trailers, body }: Http): Answer {
  const status = Number(headers[constants.HTTP2_HEADER_STATUS]);
  const requestId = text(headers["x-request-id"]);
  const of = (error: Omit<Answer, "status" | "requestId">): Answer => ({ status, requestId, ...error });
  const isPlain = String(headers["content-type"]).startsWith("application/json");
  if (isPlain || (wire.startsWith("Connect") && !isStream)) {
    return of(status === 200 ? ok : fromJson(JSON.parse(body.toString()) as JsonError));
  }
  if (wire.startsWith("Connect")) {
    const end = envelopes(body).find(({ flags }) => (flags & 2) !== 0);
    const { error } = JSON.parse(end?.data.toString() ?? "{}") as { error?: JsonError };
    return of(error ? fromJson(error) : ok);
  }
  if (wire === "gRPC") return of(fromTrailer({ ...headers, ...trailers }));
  const last = envelopes(body).find(({ flags }) => (flags & 0x80) !== 0);
  const lines = last?.data.toString().split("\r\n") ?? [];
  return of(
    fromTrailer(Object.fromEntries(lines.map((line) => line.split(/: ?(.*)/s).slice(0, 2) as [string, string]))),
  );
}

const ok = { code: "ok", reasons: [], fields: [], message: "" };

interface JsonError {
  readonly code: string;
  readonly message?: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

type Told = Omit<Answer, "status" | "requestId">;

function fromJson({ code, message = "", details = [] }: JsonError): Told {
  return { code, message, ...told(details.map(({ type, value }) => ({ type, value: base64Decode(value) }))) };
}

function fromTrailer(trailer: HttpHeaders): Told {
  const code = Number(trailer["grpc-status"]);
  if (code === 0) return ok;
  const bytes = base64Decode(text(trailer["grpc-status-details-bin"]));
  const { details } = fromBinary(StatusSchema, bytes);
  const found = details.map(({ typeUrl, value }) => ({ type: typeUrl.replace(/.*\//, ""), value }));
  return {
    code: snake(Code[code] ?? ""),
    message: decodeURIComponent(text(trailer["grpc-message"])),
    ...told(found),
  };
}

function told(details: readonly { readonly type: string; readonly value: Uint8Array }[]) {
  const of = (type: string) => details.filter((detail) => detail.type === type).map(({ value }) => value);
  return {
    reasons: of(ErrorInfoSchema.typeName).map((value) => fromBinary(ErrorInfoSchema, value).reason),
    fields: of(BadRequestSchema.typeName).flatMap((value) =>
      fromBinary(BadRequestSchema, value).fieldViolations.map(({ field }) => field),
    ),
  };
}

function snake(name: string): string {
  return name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase();
}

export function enveloped(bytes: Uint8Array, flags = 0): Buffer {
  const envelope = Buffer.alloc(5 + bytes.length);
  envelope.writeUInt8(flags);
  envelope.writeUInt32BE(bytes.length, 1);
  envelope.set(bytes, 5);
  return envelope;
}

function envelopes(body: Buffer): { readonly flags: number; readonly data: Buffer }[] {
  const found = [];
  for (let at = 0; at + 5 <= body.length; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    found.push({ flags: body.readUInt8(at), data: body.subarray(at + 5, end) });
    at = end;
  }
  return found;
}
