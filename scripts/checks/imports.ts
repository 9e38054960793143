import { readdirSync } from "node:fs";
import { join, posix } from "node:path";
import type { SourceFile } from "./source.ts";
import { readSources, root } from "./source.ts";

/** What may break a rule, and why. A line that nothing needs any more is itself a finding. */
const EXCEPTIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  environment: {
    "src/platform/embedded/programs.ts": "gives Postgres's programs PATH and the like, and nothing of ours",
    "src/commands/migrate.ts": "passes its environment to kysely-ctl, with the role and its database",
    "kysely.config.ts": "kysely-ctl says the role in its environment",
  },
  pure: {
    "src/roles/gateway/forward.ts": "a use case without a noun: carrying calls from one transport to another",
  },
  roleNames: {
    "src/platform/call.ts": "a subject's kind is also called user",
    "src/platform/rules/access.ts": "a subject's kind is also called user",
  },
};

/** Files of the platform that know nothing of any framework, like all of rules/. */
const PURE_PLATFORM =
  /^src\/platform\/(rules\/.*|call|clock|config[\w-]*|digest|environment|errors|id|money|page)\.ts$/;

/** Nouns are rules, verb-noun files are use cases, the rest has its own place. */
const PURE_ROLE = /^src\/roles\/\w+\/(?!(?:index|rpc|schema|store|errors|peers|events|routes)\.ts$)\w+\.ts$/;

const FRAMEWORK = /^(?:@connectrpc\/|connect|kysely|fastify|@fastify\/)/;

const KYSELY_VALUES =
  /^(?:src\/roles\/\w+\/(?:store[\w-]*|schema)\.ts|src\/platform\/(?:database[\w-]*|idempotency|migrate|role-database|notifications|schema-dump|events\/[\w-]+)\.ts|kysely\.config\.ts|migrations\/.*|tests\/.*)$/;

const GEN_IN_ROLE = /^src\/roles\/(?:\w+\/(?:index|rpc[\w-]*|peers|events)|registry)\.ts$/;

type Finding = (file: SourceFile, graph: Graph) => string[];

/** The files that each file imports, from the root. */
type Graph = ReadonlyMap<string, readonly { readonly path: string; readonly typeOnly: boolean }[]>;

const isTest = ({ path }: SourceFile) => /\.(?:test|fixture)\.ts$|^tests\//.test(path);
const roleOf = (path: string) => /^src\/roles\/(\w+)\//.exec(path)?.[1];
const roles = readdirSync(join(root, "src/roles"), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

const used = new Set<string>();

function isExcepted(rule: string, path: string): boolean {
  if (EXCEPTIONS[rule]?.[path] === undefined) return false;
  used.add(`${rule} ${path}`);
  return true;
}

const rules: readonly Finding[] = [
  function aRoleImportsNoOther(file, graph) {
    const own = roleOf(file.path);
    if (own === undefined) return [];
    const others = (graph.get(file.path) ?? []).filter(({ path }) => ![undefined, own].includes(roleOf(path)));
    return others.map(({ path }) => `imports ${path} of another role; ask it through peers.ts`);
  },

  function thePlatformImportsNoRole(file, graph) {
    if (!file.path.startsWith("src/platform/")) return [];
    const upwards = (graph.get(file.path) ?? []).filter(({ path }) => /^src\/(?:roles|commands)\//.test(path));
    return upwards.map(({ path }) => `imports ${path}; the platform knows no role and no command`);
  },

  function rulesImportNoFramework(file) {
    if (isTest(file) || !(PURE_PLATFORM.test(file.path) || PURE_ROLE.test(file.path))) return [];
    const frameworks = file.imports.filter(({ specifier }) => FRAMEWORK.test(specifier));
    if (frameworks.length === 0 || isExcepted("pure", file.path)) return [];
    return frameworks.map(({ specifier }) => `imports ${specifier}; rules stand on nothing but our own types`);
  },

  function onlyStoresUseKysely(file) {
    if (isTest(file) || KYSELY_VALUES.test(file.path)) return [];
    const values = file.imports.filter(({ specifier, typeOnly }) => /^kysely(?:\/|$)/.test(specifier) && !typeOnly);
    return values.map(
      ({ specifier }) => `imports values of ${specifier}; SQL belongs into store.ts (types may go anywhere)`,
    );
  },

  function onlyOneFileReadsTheEnvironment(file) {
    if (isTest(file) || file.path === "src/platform/environment.ts" || !/process\s*\.\s*env\b/.test(file.code))
      return [];
    return isExcepted("environment", file.path) ? [] : ["reads process.env; add a key to the configuration"];
  },

  function migrationsImportOnlyKysely(file) {
    if (!file.path.startsWith("migrations/")) return [];
    const others = file.imports.filter(({ specifier }) => !/^kysely(?:\/|$)/.test(specifier));
    return others.map(
      ({ specifier }) => `imports ${specifier}; a migration stays as it was, whatever changes around it`,
    );
  },

  function inRolesOnlyTheEdgesKnowTheProto(file) {
    if (isTest(file) || !file.path.startsWith("src/roles/") || GEN_IN_ROLE.test(file.path)) return [];
    const generated = file.imports.filter(({ specifier }) => specifier.startsWith("#gen/"));
    return generated.map(({ specifier }) => `imports ${specifier}; only index, rpc*, peers and events know messages`);
  },

  function thePlatformNamesNoRole(file) {
    if (isTest(file) || !file.path.startsWith("src/platform/")) return [];
    const named = roles.filter((role) => file.texts.includes(role));
    if (named.length === 0 || isExcepted("roleNames", file.path)) return [];
    return named.map((role) => `has the name of the role "${role}"; it comes from the registry`);
  },

  function onlyTheRegistryNamesAllRoles(file) {
    if (isTest(file) || !file.path.startsWith("src/") || file.path === "src/roles/registry.ts") return [];
    const names = (text: string) => (role: string) => new RegExp(`(?<![\\w.-])${role}(?![\\w.-])`).test(text);
    const isAll =
      roles.every((role) => file.texts.includes(role)) || file.texts.some((text) => roles.every(names(text)));
    return isAll ? ["names every role; take them from the registry, so that a new one is there too"] : [];
  },
];

/** Every import that breaks a rule of the design, and every circle, one line each. */
export function checkImports(): string {
  const files = readSources("src", "migrations", "tests", "kysely.config.ts");
  const graph: Graph = new Map(files.map((file) => [file.path, importedBy(file)]));
  const findings = files.flatMap((file) =>
    rules.flatMap((rule) => rule(file, graph).map((finding) => `${file.path} ${finding}`)),
  );
  const idle = Object.entries(EXCEPTIONS).flatMap(([rule, paths]) =>
    Object.keys(paths)
      .filter((path) => !used.has(`${rule} ${path}`))
      .map((path) => `scripts/checks/imports.ts: the exception of ${path} (${rule}) is not needed`),
  );
  return [...findings, ...circles(graph), ...idle].join("\n");
}

function importedBy({ path, imports }: SourceFile) {
  return imports
    .filter(({ specifier }) => specifier.startsWith("."))
    .map(({ specifier, typeOnly }) => ({ path: posix.join(posix.dirname(path), specifier), typeOnly }));
}

/** Each circle once, as the way around it. What is only a type is gone at run time. */
function circles(graph: Graph): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, way: readonly string[]) => {
    const at = way.indexOf(path);
    if (at !== -1) found.push(`a circle of imports: ${[...way.slice(at), path].join(" -> ")}`);
    if (at !== -1 || done.has(path)) return;
    for (const next of graph.get(path) ?? []) if (!next.typeOnly) walk(next.path, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return found;
}
