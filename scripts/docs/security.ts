import type { Registry } from "../../src/platform/role.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import { rateLimit } from "../../src/platform/rules/rate-limit.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import type { Page } from "./page.ts";
import { between, readPage, table } from "./page.ts";

const FILE = "docs/security.md";
const registry: Registry = allRoles;

/** The page with who may call what, of the proto files, and what roles may do; the rest of it is written by hand. */
export function securityPages(): Page[] {
  const text = between(readPage(FILE), "methods", methods());
  return [{ file: FILE, text: between(text, "permissions", permissions()) }];
}

function methods(): string {
  const rows = Object.values(registry).flatMap(({ services }) =>
    services.flatMap((service) =>
      service.methods.map((method) => {
        const { level, permission, callers } = accessRule(method);
        const who = {
          public: "anybody",
          authenticated: "logged in",
          permission: `\`${permission}\``,
          internal: "nobody",
        };
        const { name, calls, seconds } = rateLimit(method);
        const rate =
          level === "internal" ? "" : name === method.name ? `${String(calls)} in ${String(seconds)} s` : name;
        return [`${service.name}.${method.name}`, who[level], callers.join(", "), rate];
      }),
    ),
  );
  return table(["method", "from outside", "by roles", "rate limit"], rows);
}

function permissions(): string {
  const roles = ["support", "admin"] as const;
  const all = permissionsOf(["admin"]);
  const rows = all.map((permission) => [
    `\`${permission}\``,
    ...roles.map((role) => (permissionsOf([role]).includes(permission) ? "yes" : "")),
  ]);
  return table(["permission", ...roles], rows);
}
