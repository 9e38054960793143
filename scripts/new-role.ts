import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Command } from "commander";
import type { Registry } from "../src/platform/role.ts";
import { registry as allRoles } from "../src/roles/registry.ts";
import { command } from "./checks/command.ts";
import { root } from "./checks/source.ts";
import type { Words } from "./new-role/templates.ts";
import { filesOf, wordsOf } from "./new-role/templates.ts";

const REGISTRY = "src/roles/registry.ts";
const PERMISSIONS = "src/roles/user/permission.ts";
const MATRIX = "tests/journeys/access-matrix.ts";

/** One word everywhere: a proto package, a folder, the beginning of an environment key, a database. */
const NAME = /^[a-z][a-z0-9]{1,30}$/;

/** Names that mean something else: in ROLE, in proto/, as a database, as the beginning of other keys, in JavaScript. */
const TAKEN = ["all", "common", "events", "postgres", "database", "constructor"];

const program = new Command("npm run role:new --")
  .description(
    `Writes a new role that works: proto file, migration, code, test, and its line in ${REGISTRY}. See docs/adding-a-role.md.`,
  )
  .argument("<name>", "one word in lower case, of letters and digits: wishlist")
  .option(
    "--remove",
    "delete what it wrote, and what has been added to those folders since; git brings back commits only",
  )
  .parse();
const [name = ""] = program.args;
const { remove = false } = program.opts<{ remove?: boolean }>();
const refusal = remove ? whyKeep(name) : whyNot(name);
if (refusal !== undefined) program.error(refusal, { exitCode: 2 });
if (remove) removeRole(name);
else addRole(name);

function addRole(role: string): void {
  const words = wordsOf(role);
  const files = filesOf(words, `${now()}-${role}`);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  const port = Math.max(...Object.values<Registry[string]>(allRoles).map((entry) => entry.port)) + 1;
  change(REGISTRY, (text) => withRole(text, words, port));
  change(PERMISSIONS, (text) => withPermission(text, role));
  change(MATRIX, (text) => withRows(text, words));

  const written = [...Object.keys(files), REGISTRY, PERMISSIONS, MATRIX];
  if (!settle(`The files of ${role} are written, but then:`, written)) return;
  console.log(`The role ${role} is there, on port ${String(port)}:`);
  for (const file of written) console.log(`  ${file}`);
  console.log(`Next: npm run check, npx vitest run tests/roles/${role}.test.ts, and docs/adding-a-role.md.`);
}

function removeRole(role: string): void {
  change(REGISTRY, (text) => withoutRole(text, role));
  change(PERMISSIONS, (text) => withoutPermission(text, role));
  change(MATRIX, (text) => withoutRows(text, role));
  const places = placesOf(role).filter((place) => existsSync(join(root, place)));
  for (const place of places) rmSync(join(root, place), { recursive: true });
  if (!settle(`The files of ${role} are deleted, but then:`, [REGISTRY, PERMISSIONS])) return;
  console.log(`The role ${role} is gone:`);
  for (const place of [...places, REGISTRY]) console.log(`  ${place}`);
  console.log("Next: npm run check, which names what still wants it. Its database, where there is one, stays.");
}

function change(file: string, edit: (text: string) => string): void {
  const path = join(root, file);
  writeFileSync(path, edit(readFileSync(path, "utf8")));
}

/** Writes what is generated of the roles. False, with the exit code set, where that fails; it says why. */
function settle(where: string, written: readonly string[]): boolean {
  const steps: readonly (readonly [string, ...string[]])[] = [
    ["buf", "generate"],
    ["node", "scripts/generate-client.ts"],
    ["biome", "format", "--write", ...written.filter((file) => file.endsWith(".ts"))],
    ["node", "scripts/dump-schema.ts"],
    ["node", "scripts/docs.ts"],
  ];
  let failure = "";
  for (const step of steps) failure ||= command(...step);
  if (failure === "") return true;
  console.error(`${where}\n${failure}`);
  process.exitCode = 1;
  return false;
}

/** The folders and the file that a role has to itself. */
function placesOf(role: string): string[] {
  return [
    `proto/commerce/${role}`,
    `gen/commerce/${role}`,
    `clients/ts/src/gen/commerce/${role}`,
    `migrations/${role}`,
    `src/roles/${role}`,
    `tests/roles/${role}.test.ts`,
  ];
}

/** Why a role cannot be removed; undefined where it can. */
function whyKeep(role: string): string | undefined {
  if (!Object.hasOwn(allRoles, role)) return `There is no role ${role}.`;
  const registry: Registry = allRoles;
  return registry[role]?.edge ? `${role} is the door to the others; it stays.` : undefined;
}

/** Why there cannot be a role of this name; undefined where there can. */
function whyNot(role: string): string | undefined {
  if (Object.hasOwn(allRoles, role)) return `There is a role ${role} already.`;
  if (!NAME.test(role))
    return `"${role}" is no name for a role: 2 to 31 lower-case letters and digits, a letter first.`;
  if (TAKEN.includes(role)) return `"${role}" means something else here; choose another name.`;
  const place = placesOf(role).find((path) => existsSync(join(root, path)));
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

/** The registry without what {@link withRole} added, also after the formatter has broken its line. */
function withoutRole(text: string, role: string): string {
  const imported = new RegExp(`^import .*"#gen/commerce/${role}/.*\\n`, "gm");
  const entry = new RegExp(`^  ${role}: \\{(?:.*\\},\\n|\\n(?: {4}.*\\n)*  \\},\\n)`, "m");
  if (!entry.test(text)) throw new Error(`${REGISTRY} does not look as expected; take the role out by hand.`);
  return text.replace(imported, "").replace(entry, "");
}

/** The permissions of an admin with that of the new role's method. */
function withPermission(text: string, role: string): string {
  const end = /^ {2}admin: \[[^\]]*(?=\])/m.exec(text);
  if (!end) throw new Error(`${PERMISSIONS} does not look as expected; add ${role}.write to admin by hand.`);
  const at = end.index + end[0].length;
  const comma = /,\s*$/.test(end[0]) ? "" : ", ";
  return `${text.slice(0, at)}${comma}"${role}.write"${text.slice(at)}`;
}

/** The permissions without those of a role, as {@link withPermission} and the formatter left them. */
function withoutPermission(text: string, role: string): string {
  return text.replaceAll(new RegExp(`,?\\s*"${role}\\.[a-z]+"`, "g"), "");
}

/** The table of who may call what with the methods of the new role, last. */
function withRows(text: string, { role, Role }: Words): string {
  const end = text.indexOf("\n`;\n");
  if (end === -1) throw new Error(`${MATRIX} does not look as expected; add the rows of ${role} by hand.`);
  const row = (rpc: string, ...words: string[]) =>
    [rpc.padEnd(24), ...["missing", ...words].map((word, at) => word.padEnd([10, 7, 7, 8, 7, 8, 10, 0][at] ?? 0))].join(
      " ",
    );
  const rows = [
    `commerce.${role}.v1.${Role}Service`,
    row(`Create${Role}`, "denied", "denied", "denied", "ok", "denied", "ok", `${role}.write`),
    row(`Get${Role}`, "ok", "ok", "ok", "ok", "ok", "ok", "-"),
  ];
  return `${text.slice(0, end)}\n\n${rows.join("\n")}${text.slice(end)}`;
}

/** The table without the services of a role: each with its rows is a paragraph. */
function withoutRows(text: string, role: string): string {
  const start = text.indexOf(`\n\ncommerce.${role}.v1.`);
  if (start === -1) return text;
  const ends = ["\n\n", "\n`;"].map((end) => text.indexOf(end, start + 2)).filter((at) => at !== -1);
  return withoutRows(text.slice(0, start) + text.slice(Math.min(...ends)), role);
}
