import { readFileSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { accessRule } from "../../platform/rules/access.ts";
import { registry } from "../registry.ts";
import { permissionsOf, sortedRoles } from "./permission.ts";

/** What the access options of all services name, and what handlers ask for beside them. */
function namedPermissions(): string[] {
  const named = new Set<string>();
  const services = Object.values(registry).flatMap((role) => [...role.services]);
  for (const { methods } of services) {
    for (const method of methods) named.add(accessRule(method).permission);
  }
  named.delete("");
  const folder = new URL("../", import.meta.url);
  for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!/\/rpc[\w-]*\.ts$/.test(file)) continue;
    const texts = readFileSync(new URL(file, folder), "utf8").matchAll(/"([a-z]+\.(?:read|write|grant))"/g);
    for (const [, permission = ""] of texts) named.add(permission);
  }
  return [...named].sort();
}

test("an admin may do whatever any method or handler asks a permission for", () => {
  expect(namedPermissions()).toEqual(expect.arrayContaining(["order.write", "product.write", "user.grant"]));
  expect(permissionsOf(["admin"])).toEqual(namedPermissions());
});

test("support reads users and orders and changes orders; a customer has no permission", () => {
  expect(permissionsOf(["support"])).toEqual([
    "notification.read",
    "order.read",
    "order.refund",
    "order.write",
    "payment.read",
    "stock.read",
    "user.read",
  ]);
  expect(permissionsOf([])).toEqual([]);
  expect(permissionsOf(["support", "admin"])).toEqual(permissionsOf(["admin"]));
});

test("equal sets of roles are equal lists", () => {
  expect(sortedRoles(["support", "admin", "support"])).toEqual(["admin", "support"]);
});
