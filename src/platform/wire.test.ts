import { create, fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { BadRequestSchema, ErrorInfoSchema, LocalizedMessageSchema } from "#gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";
import type { ErrorDetails } from "./errors.ts";
import { AppError, errors } from "./errors.ts";
import {
  codeOf,
  filteredHeaders,
  fromConnectError,
  fromInboundError,
  kindOf,
  toConnectError,
  toStatus,
  wireRegistry,
} from "./wire.ts";

const details: ErrorDetails = {
  metadata: { sku: "A-1", available: "2" },
  fields: [
    { field: "items[3].quantity", description: "must be positive" },
    { field: "email", description: "must not contain control characters", reason: "INVALID_TEXT" },
  ],
  preconditions: [{ type: "SKU_UNAVAILABLE", subject: "A-1", description: "is archived" }],
  resource: { type: "order", name: "42" },
  retryAfterMs: 1_500,
};

/** The error as a client gets it: details are bytes, not messages. */
function received(error: ConnectError, metadata?: Record<string, string>): ConnectError {
  const copy = new ConnectError(error.rawMessage, error.code, metadata);
  copy.details = error.details.map((detail) =>
    "desc" in detail
      ? { type: detail.desc.typeName, value: toBinary(detail.desc, create(detail.desc, detail.value)) }
      : detail,
  );
  copy.isWireError = true;
  return copy;
}

test("an error survives the way over the wire", () => {
  const sent = new AppError("failed_precondition", "OUT_OF_STOCK", "There is not enough of it.", details);
  const got = fromConnectError(received(toConnectError(sent)));
  expect(got.kind).toBe(sent.kind);
  expect(got.reason).toBe(sent.reason);
  expect(got.message).toBe(sent.message);
  expect(got.details).toMatchObject(details);
  expect(got.details.raw).toBe(got.details.cause);
});

test("it carries exactly one ErrorInfo, of our domain, and no empty detail", () => {
  const error = toConnectError(errors.OVERLOADED());
  expect(error.details).toHaveLength(1);
  expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: "OVERLOADED", domain: "connect-commerce" }]);
});

test("a peer's error is passed on with its very bytes, also those of details unknown here", () => {
  const unknown = { type: "acme.v2.Unheard", value: new Uint8Array([0x0a, 0xff, 0x00, 0x80]) };
  const info = {
    type: ErrorInfoSchema.typeName,
    value: toBinary(ErrorInfoSchema, create(ErrorInfoSchema, { reason: "X" })),
  };
  const peer = received(new ConnectError("no", Code.OutOfRange), {
    "content-type": "application/proto",
    "grpc-status": "11",
    date: "today",
    "x-request-id": "1",
    "x-shard": "7",
  });
  peer.details = [unknown, info];
  const onward = toConnectError(fromConnectError(peer));
  expect(onward.isWireError).toBe(false);
  expect([onward.code, onward.rawMessage]).toEqual([Code.OutOfRange, "no"]);
  expect(onward.details).toEqual([unknown, info]);
  expect([...onward.metadata]).toEqual([["x-shard", "7"]]);
});

test.each([
  [Code.Unavailable, "PEER_DOWN", "unavailable"],
  [Code.DeadlineExceeded, "DEADLINE", "deadline_exceeded"],
  [Code.Canceled, "CANCELED", "canceled"],
  [Code.ResourceExhausted, "MESSAGE_TOO_LARGE", "resource_exhausted"],
  [Code.Unimplemented, "UNSUPPORTED_METHOD", "unimplemented"],
  [Code.InvalidArgument, "MALFORMED_MESSAGE", "invalid_argument"],
  [Code.DataLoss, "INTERNAL", "internal"],
])("without an ErrorInfo, code %i becomes %s", (code, reason, kind) => {
  const cause = new ConnectError("connect ECONNREFUSED 10.0.0.7:5432", code);
  const error = fromConnectError(cause);
  expect([error.reason, error.kind, error.cause, error.details.raw]).toEqual([reason, kind, cause, undefined]);
});

test("a peer that is down is worth another try, and its address is not told", () => {
  const error = fromConnectError(new ConnectError("connect ECONNREFUSED 10.0.0.7:5432", Code.Unavailable));
  expect(error.details.retryAfterMs).toBe(1_000);
  expect(error.message).not.toContain("10.0.0.7");
});

test("unreadable binary is the sender's fault only where it was received as a request", () => {
  const cause = new ConnectError("parse binary: premature EOF", Code.Internal);
  expect(fromInboundError(cause)).toMatchObject({ kind: "invalid_argument", reason: "MALFORMED_MESSAGE" });
  expect(fromConnectError(cause)).toMatchObject({ kind: "internal" });
  const tooLong = new ConnectError("message size 9 is larger than configured writeMaxBytes 8", Code.ResourceExhausted);
  expect(fromInboundError(tooLong)).toMatchObject({ kind: "internal" });
});

test("a status has the error's details, and can be written as JSON", () => {
  const status = toStatus(new AppError("invalid_argument", "INVALID_REQUEST", "no", details));
  expect(status).toMatchObject({ code: 3, message: "no" });
  const badRequest = status.details.map((any) => anyUnpack(any, BadRequestSchema)).find(Boolean);
  expect(badRequest?.fieldViolations[1]?.reason).toBe("INVALID_TEXT");
  expect(toJson(StatusSchema, status, { registry: wireRegistry })).toMatchObject({
    details: expect.arrayContaining([expect.objectContaining({ "@type": "type.googleapis.com/google.rpc.ErrorInfo" })]),
  });
});

test("a status passes a peer's details on", () => {
  const peer = received(toConnectError(errors.NOT_FOUND()));
  const words = toBinary(LocalizedMessageSchema, create(LocalizedMessageSchema, { locale: "de", message: "Nein" }));
  peer.details.push({ type: LocalizedMessageSchema.typeName, value: words });
  const any = toStatus(fromConnectError(peer)).details[1];
  expect(any?.typeUrl).toBe("type.googleapis.com/google.rpc.LocalizedMessage");
  expect(any && fromBinary(LocalizedMessageSchema, any.value).message).toBe("Nein");
});

test("kinds and codes are the same thing", () => {
  const codes = Object.values(Code).filter((code) => typeof code === "number");
  expect(codes.map((code) => codeOf(kindOf(code)))).toEqual(codes);
  expect(kindOf(99 as Code)).toBe("unknown");
});

test("headers of one hop are left out, cookies are kept apart", () => {
  const kept = filteredHeaders(
    new Headers([
      ["Set-Cookie", "a=1"],
      ["Set-Cookie", "b=2"],
      ["Accept-Encoding", "gzip"],
      ["Connection", "keep-alive"],
      ["Connect-Protocol-Version", "1"],
      ["idempotent-replayed", "true"],
    ]),
  );
  expect([...kept]).toEqual([
    ["idempotent-replayed", "true"],
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
  ]);
});

test("an error fits into the headers that a gRPC client takes, however much is wrong", () => {
  const fields = Array.from({ length: 5_000 }, (_, n) => ({
    field: `attributes["${"x".repeat(5_000)}"][${String(n)}]`,
    description: "must be shorter",
  }));
  const error = toConnectError(errors.INVALID_REQUEST({ fields, metadata: { sku: "x".repeat(9_000) } }));
  const { details, message } = toStatus(errors.INVALID_REQUEST({ fields, message: "y".repeat(9_000) }));
  const bytes = details.reduce((sum, { value }) => sum + value.length, message.length);
  expect(bytes).toBeLessThan(5_000);
  expect(error.findDetails(BadRequestSchema)[0]?.fieldViolations.length).toBeGreaterThan(5);
});
