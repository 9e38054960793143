import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Command } from "commander";
import type { Registry } from "../src/platform/role.ts";
import { registry as allRoles } from "../src/roles/registry.ts";
import { command } from "./checks/command.ts";
import { root } from "./checks/source.ts";
import type { Words } from "./new-role/templates.ts";
import { filesOf, wordsOf } from "./new-role/templates.ts";

const REGISTRY = "src/roles/registry.ts";

/** One word everywhere: a proto package, a folder, the beginning of an environment key, a database. */
const NAME = /^[a-z][a-z0-9]{1,30}$/;

/** Names that mean something else: in ROLE, in proto/, as a database, as the beginning of other keys, in JavaScript. */
const TAKEN = ["all", "common", "events", "postgres", "database", "constructor"];

const program = new Command("npm run role:new --")
  .description(
    `Writes a new role that works: proto file, migration, code, test, and its line in ${REGISTRY}. See docs/adding-a-role.md.`,
  )
  .argument("<name>", "one word in lower case, of letters and digits: wishlist")
  .parse();
const [name = ""] = program.args;
const refusal = whyNot(name);
if (refusal !== undefined) program.error(refusal, { exitCode: 2 });

const words = wordsOf(name);
const files = filesOf(words, `${now()}-${name}`);
for (const [file, text] of Object.entries(files)) {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}
const port = Math.max(...Object.values<Registry[string]>(allRoles).map((role) => role.port)) + 1;
writeFileSync(join(root, REGISTRY), withRole(readFileSync(join(root, REGISTRY), "utf8"), words, port));

const written = [...Object.keys(files), REGISTRY];
const steps: readonly (readonly [string, ...string[]])[] = [
  ["buf", "generate"],
  ["biome", "format", "--write", ...written.filter((file) => file.endsWith(".ts"))],
  ["node", "scripts/dump-schema.ts"],
  ["node", "scripts/docs.ts"],
];
let failure = "";
for (const step of steps) failure ||= command(...step);
if (failure !== "") {
  console.error(`The files of ${name} are written, but then:\n${failure}`);
  process.exitCode = 1;
} else {
  console.log(`The role ${name} is there, on port ${String(port)}:`);
  for (const file of written) console.log(`  ${file}`);
  console.log(`Next: npm run check, npx vitest run tests/roles/${name}.test.ts, and docs/adding-a-role.md.`);
}

/** Why there cannot be a role of this name; undefined where there can. */
function whyNot(role: string): string | undefined {
  if (Object.hasOwn(allRoles, role)) return `There is a role ${role} already.`;
  if (!NAME.test(role))
    return `"${role}" is no name for a role: 2 to 31 lower-case letters and digits, a letter first.`;
  if (TAKEN.includes(role)) return `"${role}" means something else here; choose another name.`;
  const places = [`proto/commerce/${role}`, `gen/commerce/${role}`, `migrations/${role}`, `src/roles/${role}`];
  const place = [...places, `tests/roles/${role}.test.ts`].find((path) => existsSync(join(root, path)));
  return place === undefined ? undefined : `${place} is there already.`;
}

/** The minute, in UTC, as the names of migrations begin. */
function now(): string {
  return new Date().toISOString().replace(/\D/g, "").slice(0, 12);
}

/** The registry with the import of a role's service and the role's line, both at the end of their lists. */
function withRole(text: string, { role, Role }: Words, itsPort: number): string {
  const imported = `import { ${Role}Service } from "#gen/commerce/${role}/v1/${role}_pb.ts";\n`;
  const line = `  ${role}: { port: ${String(itsPort)}, services: [${Role}Service], database: true, load: () => import("./${role}/index.ts") },\n`;
  const lastImport = [...text.matchAll(/^import .*"#gen\/.*\n/gm)].at(-1);
  const end = text.lastIndexOf("} satisfies Registry;");
  if (!lastImport || end === -1) throw new Error(`${REGISTRY} does not look as expected; add the role by hand.`);
  const at = lastImport.index + lastImport[0].length;
  return text.slice(0, at) + imported + text.slice(at, end) + line + text.slice(end);
}
