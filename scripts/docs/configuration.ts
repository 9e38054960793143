import { configKeys } from "../../src/platform/config-keys.ts";
import type { ConfigKey } from "../../src/platform/config-keys.ts";
import { keyPrefix } from "../../src/platform/config-databases.ts";
import type { Registry } from "../../src/platform/role.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { readSources } from "../checks/source.ts";
import type { Page } from "./page.ts";
import { code, table } from "./page.ts";

const registry: Registry = allRoles;

interface Group {
  readonly title: string;
  readonly about: string;
  readonly keys: readonly ConfigKey[];
}

/** docs/configuration.md and .env.example: what the configuration reads, and nothing else. */
export async function configurationPages(): Promise<Page[]> {
  const groups = groupKeys(await readKeys());
  const without = groups.flatMap(({ keys }) => keys).find(({ spec }) => descriptionOf(spec) === "");
  if (without) {
    const place = without.owner === undefined ? "src/platform/config*.ts" : `src/roles/${without.owner}/index.ts`;
    throw new Error(`${place}: the key ${without.key} has no desc; write what it means.`);
  }
  return [
    { file: "docs/configuration.md", text: toMarkdown(groups) },
    { file: ".env.example", text: toEnv(groups) },
  ];
}

/** Keys that code reads by name without the configuration knowing them. */
export async function unknownKeys(): Promise<string[]> {
  const known = new Set((await readKeys()).map(({ key }) => key));
  return readSources("src", "kysely.config.ts")
    .filter(({ path }) => !/\.(?:test|fixture)\.ts$/.test(path))
    .flatMap(({ path, code: text }) =>
      [...text.matchAll(/\benv(?:ironment)?(?:\.|\[")(?<key>[A-Z][A-Z0-9_]+)\b/g)]
        .map(({ groups }) => groups?.["key"] ?? "")
        .filter((key) => !known.has(key) && key !== "LC_ALL")
        .map((key) => `${path} reads ${key}, which no configuration spec has`),
    );
}

async function readKeys(): Promise<ConfigKey[]> {
  const loaded = Object.entries(registry).map(async ([role, entry]) => {
    const { config } = (await entry.load()).default;
    return [role, { edge: false, ...entry, config }] as const;
  });
  return configKeys(Object.fromEntries(await Promise.all(loaded)));
}

function groupKeys(keys: readonly ConfigKey[]): Group[] {
  const roles = Object.keys(registry);
  const ours = keys.filter(({ owner }) => owner === undefined);
  const databases = ours.filter(({ key }) => /DATABASE|^POSTGRES_/.test(key));
  const addresses = roles.flatMap((role) => {
    const prefixes = [keyPrefix(role), registry[role]?.alias ?? `${keyPrefix(role)}SERVICE`];
    const names = prefixes.flatMap((prefix) => ["PORT", "URL", "HOST"].map((suffix) => `${prefix}_${suffix}`));
    return ours.filter(({ key }) => names.includes(key));
  });
  const groups = [
    {
      title: "The process",
      about: "",
      keys: ours.filter((key) => !databases.includes(key) && !addresses.includes(key)),
    },
    {
      title: "Addresses of roles",
      about:
        "Where a role listens, and where others find it. The latter is ignored in the process in which the role runs.",
      keys: addresses,
    },
    {
      title: "Databases",
      about:
        "Without any address here all roles in one process bring their own Postgres, in DATA_DIR. A role's own key " +
        "comes first, then DATABASE_URL, then POSTGRES_*.",
      keys: databases,
    },
    ...roles.map((role) => ({
      title: `The role ${role}`,
      about: "",
      keys: keys.filter(({ owner }) => owner === role),
    })),
  ];
  return groups.filter((group) => group.keys.length > 0);
}

function toMarkdown(groups: readonly Group[]): string {
  const sections = groups.map(({ title, about, keys }) => {
    const rows = keys.map(({ key, spec, readBy }) => [
      code(key),
      descriptionOf(spec),
      code(defaultOf(spec)),
      code(spec.example ?? ""),
      readersOf(readBy),
    ]);
    const parts = [`## ${title}`, about, table(["key", "meaning", "default", "example", "read by"], rows)];
    return parts.filter((part) => part !== "").join("\n\n");
  });
  return `# Configuration

Written by \`npm run docs\` from the specs in \`src/platform/config*.ts\` and the roles' \`index.ts\`; edit those.

Keys are read from the environment, and from \`.env\` in the working folder where the environment says nothing. Empty
means unset, and every key is optional unless its meaning says otherwise. In \`.env\` spaces around \`=\` are allowed and
\`\${NAME}\` stands for another value. Bad values are all listed before anything starts.

${sections.join("\n\n")}
`;
}

function toEnv(groups: readonly Group[]): string {
  const sections = groups.map(({ title, about, keys }) => {
    const lines = keys.flatMap(({ key, spec }) => [...comment(descriptionOf(spec)), `${key}=${defaultOf(spec)}`]);
    return [`# --- ${title}`, ...comment(about), "", ...lines].join("\n");
  });
  return `# Every key, with its default; empty means unset. The environment wins over this file.
# Written by npm run docs; docs/configuration.md has examples.

${sections.join("\n\n")}
`;
}

/** Comment lines of at most 120 characters. */
function comment(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.replaceAll("`", "").split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 119) lines[lines.length - 1] = `${last} ${word}`;
    else if (word !== "") lines.push(`# ${word}`);
  }
  return lines;
}

function descriptionOf(spec: ConfigKey["spec"]): string {
  return ("desc" in spec ? spec.desc : undefined) ?? "";
}

/** Objects are what the code brings along: they are described, not printed. */
function defaultOf(spec: ConfigKey["spec"]): string {
  const value = "default" in spec ? spec.default : undefined;
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

function readersOf(readBy: readonly string[]): string {
  const others = Object.keys(registry).filter((role) => !readBy.includes(role));
  if (others.length === 0) return "all";
  return others.length === 1 && readBy.length > 1 ? `all but ${others.join()}` : readBy.join(", ");
}
