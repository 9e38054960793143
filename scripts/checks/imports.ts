import { readdirSync } from "node:fs";
import { join, posix } from "node:path";
import type { SourceFile } from "./source.ts";
import { readSources, root } from "./source.ts";

/** What may break a rule, and why. A line that nothing needs any more is itself a finding. */
const EXCEPTIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  computed: {
    "src/platform/embedded/binaries.ts": "finds the package of this platform, which may be absent",
    "src/platform/events/migrate-bus.ts": "reads which schema pg-boss has",
    "src/platform/embedded/lock.ts": "takes node:sqlite without its warning",
    "src/platform/migrate.ts": "loads what is in migrations/",
    "src/commands/migrate.ts": "finds the program of kysely-ctl",
  },
  environment: {
    "src/platform/embedded/programs.ts": "gives Postgres's programs PATH and the like, and nothing of ours",
    "src/commands/migrate.ts": "passes its environment to kysely-ctl, with the role and its database",
    "kysely.config.ts": "kysely-ctl says the role in its environment",
  },
  pure: {
    "src/roles/gateway/forward.ts": "a use case without a noun: carrying calls from one transport to another",
  },
  roleNames: {
    "src/platform/notifications.ts": "pg has an event of that name",
    "src/platform/events/bus-postgres-listener.ts": "pg has an event of that name",
    "src/platform/call.ts": "a subject's kind is also called user",
    "src/platform/rules/access.ts": "a subject's kind is also called user",
  },
};

/** Files of the platform that know nothing of any framework, like all of rules/. */
const PURE_PLATFORM =
  /^src\/platform\/(rules\/.*|call|clock|config[\w-]*|digest|environment|errors|id|money|page)\.ts$/;

/** Nouns are rules, verb-noun files are use cases, the rest has its own place. */
const PURE_ROLE =
  /^src\/roles\/[^/]+\/(?:[^/]+\/)*(?!(?:index|rpc|schema|store|errors|peers|events|routes)\.ts$)\w+\.ts$/;

const FRAMEWORK = /^(?:@connectrpc\/|connect|kysely|fastify|@fastify\/|pg(?:-|\/|$))/;

const KYSELY_VALUES =
  /^(?:src\/roles\/[^/]+\/(?:store[\w-]*|schema)\.ts|src\/platform\/(?:database[\w-]*|idempotency|migrate|role-database|notifications|schema-dump|events\/[\w-]+)\.ts|kysely\.config\.ts|migrations\/.*|tests\/.*)$/;

const GEN_IN_ROLE = /^src\/roles\/(?:[^/]+\/(?:index|rpc[\w-]*|peers|events)|registry)\.ts$/;

/** Code that the rules below would not see. */
const OTHER_CODE = /\.(?:[cm]?jsx?|[cm]ts|tsx)$/;

/** A package, `node:`, `#gen/`, or a path without anything that Node would decode. */
const PLAIN = /^(?:#gen\/|node:|\.{1,2}\/|[@a-z])[\w@./-]*$/i;

/** What imports by a text that is made at run time. */
const COMPUTED =
  /(?<![\w$.])import\s*\((?!\s*["'])|\b(?:createRequire|getBuiltinModule|registerHooks)\b|\bimport\.meta\.resolve\b/;

const ENVIRONMENT =
  /\bprocess\s*(?:\?\.\s*|\.\s*)env\b|\bprocess\s*(?:\?\.\s*)?\[|[=(,]\s*(?:globalThis\s*\.\s*)?process\s*[;,)\]}]/;

type Finding = (file: SourceFile, graph: Graph) => string[];

/** What each file imports: files by their path from the root, and the packages of which values are used. */
type Graph = ReadonlyMap<string, Imported>;

interface Imported {
  readonly files: readonly { readonly path: string; readonly typeOnly: boolean }[];
  readonly packages: readonly string[];
}

const isTest = ({ path }: Pick<SourceFile, "path">) => /\.(?:test|fixture)\.ts$|^tests\//.test(path);
const roleOf = (path: string) => /^src\/roles\/([^/]+)\//.exec(path)?.[1];
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
  function everyImportCanBeRead(file) {
    const odd = file.imports.filter(({ specifier }) => !PLAIN.test(specifier));
    const findings = odd.map(({ specifier }) => `imports "${specifier}"; write a package or a plain relative path`);
    if (isTest(file) || !COMPUTED.test(file.code) || isExcepted("computed", file.path)) return findings;
    return [...findings, 'imports what a text at run time says; write import("…") with a plain text'];
  },

  function aRoleImportsNoOther(file, graph) {
    const own = roleOf(file.path);
    if (own === undefined || isTest(file)) return [];
    const allowed = [`src/roles/${own}/`, "src/platform/", "gen/"];
    const others = importsOf(file, graph).filter(({ path }) => !allowed.some((place) => path.startsWith(place)));
    return others.map(({ path }) => {
      if (roleOf(path) !== undefined) return `imports ${path} of another role; ask it through peers.ts`;
      return `imports ${path}; a role stands on its own folder and on src/platform only`;
    });
  },

  function aRoleNamesNoFile(file) {
    if (roleOf(file.path) === undefined || isTest(file)) return [];
    const imported = new Set(file.imports.map(({ specifier }) => specifier));
    const named = file.texts.filter((text) => /^\.{1,2}\//.test(text) && !imported.has(text));
    return named.map((text) => `names the file "${text}" without importing it; import it, so that these rules see it`);
  },

  function whatRunsImportsNoTest(file, graph) {
    if (isTest(file)) return [];
    const tests = importsOf(file, graph).filter(({ path }) => isTest({ path }) || path.startsWith("scripts/"));
    return tests.map(({ path }) => `imports ${path}; what runs in production uses no tests and no scripts`);
  },

  function thePlatformImportsNoRole(file, graph) {
    if (!file.path.startsWith("src/platform/")) return [];
    const upwards = importsOf(file, graph).filter(({ path }) => /^src\/(?:roles|commands)\//.test(path));
    return upwards.map(({ path }) => `imports ${path}; the platform knows no role and no command`);
  },

  function rulesImportNoFramework(file, graph) {
    if (isTest(file) || !(PURE_PLATFORM.test(file.path) || PURE_ROLE.test(file.path))) return [];
    const named = file.imports.filter(({ specifier }) => FRAMEWORK.test(specifier));
    const ways = [...named.map(({ specifier }) => specifier), ...waysToFrameworks(file.path, graph)];
    if (ways.length === 0 || isExcepted("pure", file.path)) return [];
    return ways.map((way) => `imports ${way}; rules stand on nothing but our own types`);
  },

  function onlyStoresUseKysely(file) {
    if (isTest(file) || KYSELY_VALUES.test(file.path)) return [];
    const values = file.imports.filter(({ specifier, typeOnly }) => /^kysely(?:\/|$)/.test(specifier) && !typeOnly);
    return values.map(
      ({ specifier }) => `imports values of ${specifier}; SQL belongs into store.ts (types may go anywhere)`,
    );
  },

  function onlyOneFileReadsTheEnvironment(file) {
    const imported = file.imports.some(({ specifier }) => /^(?:node:)?process$/.test(specifier));
    if (isTest(file) || file.path === "src/platform/environment.ts") return [];
    if (!(imported || ENVIRONMENT.test(file.code)) || isExcepted("environment", file.path)) return [];
    return ["reads process.env; add a key to the configuration"];
  },

  function migrationsImportOnlyKysely(file) {
    if (!file.path.startsWith("migrations/")) return [];
    const others = file.imports.filter(({ specifier }) => !/^kysely(?:\/|$)/.test(specifier));
    return others.map(
      ({ specifier }) => `imports ${specifier}; a migration stays as it was, whatever changes around it`,
    );
  },

  function inRolesOnlyTheEdgesKnowTheProto(file, graph) {
    if (isTest(file) || !file.path.startsWith("src/roles/") || GEN_IN_ROLE.test(file.path)) return [];
    const generated = importsOf(file, graph).filter(({ path }) => path.startsWith("gen/"));
    return generated.map(({ path }) => `imports ${path}; only index, rpc*, peers and events know messages`);
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
  return [...findings, ...otherCode(), ...circles(graph), ...idle].join("\n");
}

function importedBy({ path, imports }: SourceFile): Imported {
  const files = imports.flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith("#gen/")) return [{ path: specifier.slice(1), typeOnly }];
    return specifier.startsWith(".") ? [{ path: posix.join(posix.dirname(path), specifier), typeOnly }] : [];
  });
  const packages = imports.filter(({ specifier, typeOnly }) => !typeOnly && !/^[.#]/.test(specifier));
  return { files, packages: packages.map(({ specifier }) => specifier) };
}

function importsOf({ path }: Pick<SourceFile, "path">, graph: Graph): Imported["files"] {
  return graph.get(path)?.files ?? [];
}

/** The ways over a file's own imports to a framework. What is only a type is gone at run time. */
function waysToFrameworks(path: string, graph: Graph, seen = new Set([path])): string[] {
  return importsOf({ path }, graph).flatMap((next) => {
    if (next.typeOnly || seen.has(next.path)) return [];
    seen.add(next.path);
    const frameworks = graph.get(next.path)?.packages.filter((name) => FRAMEWORK.test(name)) ?? [];
    return [...frameworks, ...waysToFrameworks(next.path, graph, seen)].map((way) => `${next.path} -> ${way}`);
  });
}

/** A file that is no `.ts` is read by none of these rules. */
function otherCode(): string[] {
  return ["src", "migrations"]
    .flatMap((place) =>
      readdirSync(join(root, place), { recursive: true, encoding: "utf8" }).map((path) => `${place}/${path}`),
    )
    .filter((path) => OTHER_CODE.test(path))
    .map((path) => `${path.replaceAll("\\", "/")} is not a .ts file; rename it, so that the checks read it`);
}

/** Each circle once, as the way around it. What is only a type is gone at run time. */
function circles(graph: Graph): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, way: readonly string[]) => {
    const at = way.indexOf(path);
    if (at !== -1) found.push(`a circle of imports, break it: ${[...way.slice(at), path].join(" -> ")}`);
    if (at !== -1 || done.has(path)) return;
    for (const next of importsOf({ path }, graph)) if (!next.typeOnly) walk(next.path, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return found;
}
