import { describe, expect, test } from "vitest";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import type { DescMethod } from "@bufbuild/protobuf";
import type { Call, Subject } from "../call.ts";
import { anonymous } from "../call.ts";
import { accessRule, checkAccess, checkActsFor } from "./access.ts";

const denied = expect.objectContaining({ reason: "ACCESS_DENIED" });
const missing = expect.objectContaining({ reason: "TOKEN_MISSING" });
const user = (...permissions: string[]): Subject => ({ kind: "user", id: "me", permissions });
const machine = (...permissions: string[]): Subject => ({ kind: "machine", id: "me", permissions });
const order: Subject = { kind: "service", role: "order" };

const { getProduct, batchGetProducts } = ProductService.method;
const { getUser, listUsers, batchGetUsers } = UserService.method;

/** An outsider's call that the gateway passes on. */
function outside(method: DescMethod, subject: Subject): () => void {
  const call = { method, subject, caller: "gateway", outside: true } as unknown as Call;
  return () => {
    checkAccess(call);
  };
}

/** A call that a role makes by itself. */
function inside(method: DescMethod, caller: string | undefined, subject: Subject = order): () => void {
  const call = { method, subject, caller, outside: false } as unknown as Call;
  return () => {
    checkAccess(call);
  };
}

describe("a call from outside", () => {
  test("of a PUBLIC method needs nobody", () => {
    expect(outside(getProduct, anonymous)).not.toThrow();
    expect(outside(getProduct, user())).not.toThrow();
  });

  test("of an AUTHENTICATED method needs somebody", () => {
    expect(outside(getUser, anonymous)).toThrow(missing);
    expect(outside(getUser, user())).not.toThrow();
    expect(outside(getUser, machine())).not.toThrow();
  });

  test("of a method with a permission needs that permission", () => {
    expect(outside(listUsers, anonymous)).toThrow(missing);
    for (const make of [user, machine]) {
      expect(outside(listUsers, make())).toThrow(denied);
      expect(outside(listUsers, make("user.write"))).toThrow(denied);
      expect(outside(listUsers, make("user.read"))).not.toThrow();
    }
    expect(outside(listUsers, order)).toThrow(denied);
  });

  test("of an INTERNAL method is refused, whoever asks", () => {
    for (const subject of [anonymous, user("user.read"), machine("user.read"), order]) {
      expect(outside(batchGetUsers, subject)).toThrow(denied);
    }
  });
});

describe("a call that a role makes by itself", () => {
  test("is served where the method names the role, for whomever it acts", () => {
    for (const subject of [order, anonymous, user()]) {
      expect(inside(batchGetUsers, "order", subject)).not.toThrow();
      expect(inside(batchGetProducts, "order", subject)).not.toThrow();
    }
  });

  test("is refused elsewhere, a PUBLIC method too", () => {
    expect(inside(batchGetUsers, "product")).toThrow(denied);
    expect(inside(batchGetUsers, "gateway")).toThrow(denied);
    expect(inside(batchGetUsers, undefined)).toThrow(denied);
    expect(inside(getProduct, "order")).toThrow(denied);
    expect(inside(listUsers, "order", user("user.read"))).toThrow(denied);
  });
});

test("a method that states no rule is internal, and names nobody", () => {
  const method = ServerReflection.method.serverReflectionInfo;
  expect(accessRule(method)).toEqual({ level: "internal", permission: "", callers: [] });
  expect(outside(method, user())).toThrow(denied);
  expect(inside(method, "order")).toThrow(denied);
});

test("users act on what is theirs, on others' with the permission; machines with it; services on all; nobody on none", () => {
  const acts = (subject: Subject, owner: string) => () => {
    checkActsFor(subject, owner, "user.read");
  };
  expect(acts(user(), "me")).not.toThrow();
  expect(acts(user(), "other")).toThrow(denied);
  expect(acts(user(), "")).toThrow(denied);
  expect(acts(user("user.write"), "other")).toThrow(denied);
  expect(acts(user("user.read"), "other")).not.toThrow();
  expect(acts(machine(), "me")).toThrow(denied);
  expect(acts(machine("user.read"), "other")).not.toThrow();
  expect(acts(order, "other")).not.toThrow();
  expect(acts(anonymous, "other")).toThrow(denied);
  expect(acts(anonymous, "")).toThrow(denied);
});
