import { describe, expect, test } from "vitest";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import type { Call, Subject } from "../call.ts";
import { anonymous } from "../call.ts";
import { accessRule, checkAccess, checkActsFor } from "./access.ts";

const denied = expect.objectContaining({ reason: "ACCESS_DENIED" });
const user = (...permissions: string[]): Subject => ({ kind: "user", id: "me", permissions });
const order: Subject = { kind: "service", role: "order" };

function check(name: keyof typeof UserService.method, subject: Subject, outside = true): () => void {
  const call = { method: UserService.method[name], subject, outside } as unknown as Call;
  return () => {
    checkAccess(call);
  };
}

describe("checkAccess", () => {
  test("a permission is needed where the method says so", () => {
    expect(check("listUsers", user())).toThrow(denied);
    expect(check("listUsers", user("user.write"))).toThrow(denied);
    expect(check("listUsers", user("user.read"))).not.toThrow();
    expect(check("listUsers", order)).not.toThrow();
  });

  test("an internal method is for roles alone, not for what the gateway passes on, whoever asks", () => {
    for (const subject of [anonymous, user("user.read"), order]) {
      expect(check("batchGetUsers", subject)).toThrow(denied);
      expect(check("batchGetUsers", subject, false)).not.toThrow();
    }
  });

  test("a method that states no rule is internal", () => {
    const method = ServerReflection.method.serverReflectionInfo;
    expect(accessRule(method).level).toBe("internal");
    expect(() => {
      checkAccess({ method, subject: order, outside: true } as unknown as Call);
    }).toThrow(denied);
  });
});

test("users act on what is theirs, on others' with the permission; services on all", () => {
  const acts = (subject: Subject, owner: string) => () => {
    checkActsFor(subject, owner, "user.read");
  };
  expect(acts(user(), "me")).not.toThrow();
  expect(acts(user(), "other")).toThrow(denied);
  expect(acts(user(), "")).toThrow(denied);
  expect(acts(user("user.write"), "other")).toThrow(denied);
  expect(acts(user("user.read"), "other")).not.toThrow();
  expect(acts(order, "other")).not.toThrow();
  expect(acts(anonymous, "other")).not.toThrow();
});
