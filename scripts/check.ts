/**
 * Runs the static checks one after another; `npm run check` is what CI runs before the tests.
 *
 *   node scripts/check.ts             all of them
 *   node scripts/check.ts lint tsc    only these
 *   node scripts/check.ts --help      their names
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

/** What went wrong; an empty string when nothing did. */
type Check = { about: string; run: () => string };

const root = join(import.meta.dirname, "..");
const tools = join(root, "node_modules", ".bin");

const checks: Record<string, Check> = {
  format: { about: "every file is formatted (npm run format)", run: () => command("biome", "format", ".") },
  lint: {
    about: "oxlint finds nothing, with type information",
    run: () => command("oxlint", "--type-aware", "--deny-warnings"),
  },
  tsc: { about: "types are right", run: () => command("tsc", "--pretty", "false") },
  buf: { about: "proto files build and follow the lint rules", run: () => command("buf", "lint") },
  generated: { about: "gen/ is what `npm run generate` would write", run: generatedIsCurrent },
  vendored: {
    about: "proto/third_party is what the pinned packages hold",
    run: () => command("node", "scripts/vendor-protos.ts", "--check"),
  },
  schemas: {
    about: "migrations/*/schema.sql are what the migrations make (npm run dump-schema)",
    run: () => command("node", "scripts/dump-schema.ts", "--check"),
  },
  lockfile: {
    about: "package-lock.json covers every platform, versions are exact",
    run: () => command("node", "scripts/complete-lockfile.ts", "--check"),
  },
};

function command(name: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${tools}${delimiter}${process.env["PATH"] ?? ""}` };
  // On Windows the tools are .cmd files, which only a shell can start; no argument here needs quoting.
  const shell = process.platform === "win32";
  const { status, signal, error, stdout, stderr } = spawnSync(name, args, {
    cwd: root,
    env,
    shell,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status === 0) return "";
  const output = [stdout, stderr].join("").trim();
  return output || `${name}: ${error?.message ?? `ended with ${signal ?? status}, printing nothing`}`;
}

/** Generates into a temporary folder and compares; gen/ is never touched. */
function generatedIsCurrent(): string {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-gen-"));
  try {
    const failure = command("buf", "generate", "--output", folder);
    if (failure !== "") return failure;
    const expected = filesBelow(join(folder, "gen"));
    const actual = filesBelow(join(root, "gen"));
    const paths = new Set([...expected.keys(), ...actual.keys()]);
    const stale = [...paths].sort().filter((path) => expected.get(path) !== actual.get(path));
    if (stale.length === 0) return "";
    return [...stale.map((path) => `differs: gen/${path}`), "Run: npm run generate"].join("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function filesBelow(folder: string): Map<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.map((path) => [path.slice(folder.length + 1), readFileSync(path, "utf8")]));
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(checks, name) && name !== "--help");
if (wanted.includes("--help") || unknown.length > 0) {
  if (unknown.length > 0) console.error(`No such check: ${unknown.join(", ")}`);
  console.log("node scripts/check.ts [name …]");
  for (const [name, { about }] of Object.entries(checks)) console.log(`  ${name.padEnd(10)} ${about}`);
  process.exitCode = unknown.length > 0 ? 2 : 0;
} else {
  for (const [name, { run }] of Object.entries(checks)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const start = performance.now();
    const failure = run();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(failure === "" ? `ok  ${name} ${seconds} s` : `FAILED  ${name} ${seconds} s\n${failure}\n`);
    if (failure !== "") process.exitCode = 1;
  }
}
