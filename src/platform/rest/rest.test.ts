import type { DescMethod } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { errors } from "../errors.ts";
import type { HttpBinding, HttpVerb } from "./http-binding.ts";
import { httpBindingsOf } from "./http-binding.ts";
import { parsePathTemplate, splitPath } from "./path-template.ts";
import { toProblem } from "./problem.ts";
import { createRouteTable } from "./route-table.ts";

const method = { name: "Any", methodKind: "unary" } as DescMethod;

function binding(line: string): HttpBinding {
  const [verb = "", path = ""] = line.split(" ");
  return { method, verb: verb as HttpVerb, path: parsePathTemplate(path), pathFields: new Map(), body: "none" };
}

/** What a request leads to: the path as it is written, with the values of its variables. */
function found(lines: readonly string[], verb: string, path: string): string {
  const match = createRouteTable(lines.map(binding))(verb, path);
  if (match.kind === "other-verbs") return `only ${match.verbs.join(", ")}`;
  if (match.kind !== "found") return match.kind;
  return [match.binding.path.text, ...[...match.variables].map(([name, value]) => `${name}=${value}`)].join(" ");
}

describe("a path", () => {
  test.each([
    ["/a//b"],
    ["a/b"],
    ["/a/"],
    ["/{a=b/*}"],
    ["/a/**"],
    ["/{id}/x/{id}"],
    ["/a:b:c"],
    ["/a/{id"],
    ["/"],
    [""],
  ])("that is not served is refused: %j", (text) => {
    expect(() => parsePathTemplate(text)).toThrow(TypeError);
  });

  test("is taken apart before its escapes are read", () => {
    expect(splitPath("/a%2Fb/c%3Ad:e")).toEqual({
      segments: ["a/b", "c:d:e"],
      withVerb: { segments: ["a/b", "c:d"], verb: "e" },
    });
    expect(splitPath("/a/%")).toBeUndefined();
    expect(splitPath("/a/%ff")).toBeUndefined();
  });
});

describe("a request is served by", () => {
  const lines = [
    "GET /o/{id}",
    "GET /o/mine",
    "POST /o/{id}:cancel",
    "GET /o:stream",
    "GET /{kind}/mine/lines",
    "GET /o/{id}/lines",
    "GET /o",
    "DELETE /o/{id}",
  ];
  test.each([
    ["GET", "/o/7", "/o/{id} id=7"],
    ["GET", "/o/mine", "/o/mine"],
    // The first segment decides.
    ["GET", "/o/mine/lines", "/o/{id}/lines id=mine"],
    ["GET", "/p/mine/lines", "/{kind}/mine/lines kind=p"],
    ["POST", "/o/7:cancel", "/o/{id}:cancel id=7"],
    ["POST", "/o/a:b:cancel", "/o/{id}:cancel id=a:b"],
    // No such verb: it belongs to the value.
    ["GET", "/o/7:other", "/o/{id} id=7:other"],
    ["GET", "/o/7%3Acancel", "/o/{id} id=7:cancel"],
    ["GET", "/o:stream", "/o:stream"],
    ["GET", "/o/a%2Fb", "/o/{id} id=a/b"],
    ["GET", "/o/..%2f..", "/o/{id} id=../.."],
    ["PUT", "/o/7", "only GET, HEAD, DELETE"],
    // A literal that matches hides the variable, with all its verbs.
    ["DELETE", "/o/mine", "only GET, HEAD"],
    ["GET", "/o/7:cancel", "only POST"],
    ["GET", "/o/", "nothing"],
    ["GET", "/o//", "nothing"],
    ["GET", "//o", "nothing"],
    ["GET", "/O", "nothing"],
    ["GET", "/o/%zz", "unreadable"],
  ])("%s %s: %s", (verb, path, expected) => {
    expect(found(lines, verb, path)).toBe(expected);
  });

  test("one binding only: twins are refused", () => {
    expect(() => found(["GET /o/{id}", "GET /o/{other}"], "GET", "/")).toThrow(/both serve/);
    expect(() => found(["GET /o/{id}", "PUT /o/{other}"], "GET", "/")).not.toThrow();
  });
});

test("a method's bindings are its own and the additional ones, with the fields that they name", () => {
  const { updateAddress, createUser } = UserService.method;
  expect(httpBindingsOf(createUser).map(({ verb, path }) => `${verb} ${path.text}`)).toEqual([
    "POST /api/v1/auth/register",
    "POST /api/v1/users",
  ]);
  const [address] = httpBindingsOf(updateAddress);
  expect([...(address?.pathFields.keys() ?? [])]).toEqual(["id"]);
  expect(address?.body).toMatchObject({ name: "address" });
  expect(httpBindingsOf(OrderService.method.batchGetOrders)).toEqual([]);
});

test.each([
  [errors.MESSAGE_TOO_LARGE(), 413],
  [errors.IDEMPOTENCY_IN_PROGRESS(), 409],
  [errors.VERSION_MISMATCH(), 409],
  [errors.IDEMPOTENCY_KEY_REUSED(), 422],
  [errors.RATE_LIMITED(), 429],
  [errors.INVALID_REQUEST(), 400],
  [errors.AMOUNT_TOO_LARGE(), 400],
  [errors.TOKEN_MISSING(), 401],
  [errors.ACCESS_DENIED(), 403],
  [errors.NOT_FOUND(), 404],
  [errors.CANCELED(), 499],
  [errors.INTERNAL(), 500],
  [errors.UNSUPPORTED_METHOD(), 501],
  [errors.OVERLOADED(), 503],
  [errors.DEADLINE(), 504],
])("%s is a problem with the status %i", (error, status) => {
  expect(toProblem(error)).toMatchObject({
    type: `urn:connect-commerce:problem:${error.reason}`,
    status,
    reason: error.reason,
    detail: error.message,
  });
});
