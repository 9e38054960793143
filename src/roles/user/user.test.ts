import { expect, test } from "vitest";
import { anonymous } from "../../platform/call.ts";
import { newId } from "../../platform/id.ts";
import { checkActsFor, displayNameOf } from "./user.ts";

test("a display name is the part before the @, as long as a display name may be", () => {
  expect(displayNameOf("ada.lovelace@example.com")).toBe("ada.lovelace");
  expect(displayNameOf(`${"x".repeat(240)}@example.com`)).toBe("x".repeat(100));
});

test("users act on themselves, on others with the permission; services on everybody", () => {
  const [me, other] = [newId(), newId()];
  const user = { kind: "user", id: me, permissions: [] } as const;
  const denied = expect.objectContaining({ reason: "ACCESS_DENIED" });
  expect(() => checkActsFor(user, me, "user.read")).not.toThrow();
  expect(() => checkActsFor(user, other, "user.read")).toThrow(denied);
  expect(() => checkActsFor({ ...user, permissions: ["user.write"] }, other, "user.read")).toThrow(denied);
  expect(() => checkActsFor({ ...user, permissions: ["user.read"] }, other, "user.read")).not.toThrow();
  expect(() => checkActsFor({ kind: "service", role: "order" }, other, "user.read")).not.toThrow();
  expect(() => checkActsFor(anonymous, other, "user.read")).not.toThrow();
});
