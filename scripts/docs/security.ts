import type { Registry } from "../../src/platform/role.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import { rateLimit } from "../../src/platform/rules/rate-limit.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import { securityChecks } from "../../tests/security/checks.ts";
import { readSources } from "../checks/source.ts";
import type { Page } from "./page.ts";
import { between, code, readPage, table } from "./page.ts";

const FILE = "docs/security.md";
const registry: Registry = allRoles;

/** Where only checks of the list are. */
const SUITE = "tests/security";
const FEWEST = 45;

/**
 * The page with who may call what, of the proto files, what roles may do, and what shows it; the rest of it is written by
 * hand.
 */
export function securityPages(): Page[] {
  const text = between(readPage(FILE), "methods", methods());
  return [{ file: FILE, text: between(between(text, "permissions", permissions()), "checks", checks()) }];
}

/** Checks of the list whose tests are not there, and tests of the suite that are not in the list. */
export function staleChecks(): string[] {
  const titles = new Map<string, ReadonlySet<string>>();
  const titlesIn = (file: string) => {
    const known = titles.get(file) ?? new Set(titlesOf(readPage(file)));
    titles.set(file, known);
    return known;
  };
  const listed = new Set(securityChecks.map(({ file, test }) => `${file} ${test}`));
  const ids = securityChecks.map(({ id }) => id);
  return [
    ...securityChecks
      .filter(({ file, test }) => !titlesIn(file).has(test))
      .map(({ id, file, test }) => `${SUITE}/checks.ts: ${id} names the test "${test}", which ${file} has not`),
    ...readSources(SUITE)
      .flatMap(({ path }) => [...titlesIn(path)].map((test) => ({ path, test })))
      .filter(({ path, test }) => !listed.has(`${path} ${test}`))
      .map(({ path, test }) => `${path}: the test "${test}" is not in ${SUITE}/checks.ts`),
    ...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `${SUITE}/checks.ts: ${id} is there twice`),
    ...(ids.length < FEWEST ? [`${SUITE}/checks.ts has ${String(ids.length)} checks of ${String(FEWEST)}`] : []),
  ];
}

/** The titles of a file's tests: what is given to `test` or `test.each(…)` together with a function. */
function titlesOf(text: string): string[] {
  const call = /(\bdescribe[^\s"]*)?\(\s*("(?:[^"\\\n]|\\.)*"),\s*(?:\{[^}]*\},\s*)?(?:async )?\(/g;
  return [...text.matchAll(call)].flatMap(([, isGroup, title = ""]) => {
    return isGroup === undefined ? [JSON.parse(title) as string] : [];
  });
}

function checks(): string {
  const rows = securityChecks.map(({ id, against, owasp, asvs, file, test }) => {
    return [id, against, owasp === "-" ? "" : owasp, asvs.join(", "), `${code(file)}: ${test}`];
  });
  return table(["check", "against", "OWASP API 2023", "ASVS 5.0", "test"], rows);
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
