/**
 * Makes package-lock.json complete for every platform.
 *
 *   node scripts/complete-lockfile.ts           add what is missing; run it after every `npm install`
 *   node scripts/complete-lockfile.ts --check   exit 1 if something is missing, with a reason per line
 *
 * A registry mirror may lack packages of foreign platforms (Biome, buf, oxlint have one each per platform). npm then
 * silently leaves them out of the lockfile, and `npm ci` refuses that lockfile everywhere ("Missing: … from lock
 * file"). The platform is in the package's name, so the entries can be written without asking a registry. They have
 * no integrity hash, because there is nothing to take it from: on those platforms npm installs the pinned version of
 * these development tools without comparing its content.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Entry {
  version?: string;
  resolved?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const root = join(import.meta.dirname, "..");
const lockPath = join(root, "package-lock.json");
const lock = JSON.parse(readFileSync(lockPath, "utf8")) as { packages: Record<string, Entry> };
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Entry;

const exact = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/;
const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const processors = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32", "x64"];
const aliases: Record<string, string> = {
  windows: "win32",
  macos: "darwin",
  aarch64: "arm64",
  armv6: "arm",
  armv7: "arm",
  x86_64: "x64",
};

/** What `@oxlint/binding-linux-arm-musleabihf` runs on, or undefined if the name does not say. */
function platformOf(name: string): Pick<Entry, "os" | "cpu" | "libc"> | undefined {
  const words = (name.split("/").at(-1) ?? name).split("-").map((word) => aliases[word] ?? word);
  const os = words.find((word) => systems.includes(word));
  const cpu = words.find((word) => processors.includes(word));
  if (os === undefined || cpu === undefined) return undefined;
  // Without either word the package may run on both, as buf's static binaries do.
  const libc = words.some((word) => word.startsWith("musl"))
    ? "musl"
    : words.some((word) => word.startsWith("gnu")) && "glibc";
  return { os: [os], cpu: [cpu], ...(os === "linux" && libc ? { libc: [libc] } : {}) };
}

/** Where Node would find `name` from the package at `path`: the nearest node_modules that has it. */
function findEntry(path: string, name: string): Entry | undefined {
  const entry = lock.packages[path === "" ? `node_modules/${name}` : `${path}/node_modules/${name}`];
  if (entry !== undefined || path === "") return entry;
  return findEntry(path.slice(0, Math.max(0, path.lastIndexOf("/node_modules/"))), name);
}

const missing: Record<string, Entry> = {};
const problems: string[] = [];

for (const [path, entry] of Object.entries(lock.packages)) {
  if (entry.resolved?.startsWith("http"))
    problems.push(`package-lock.json: ${path} has the address of a registry ("resolved")`);
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const present = findEntry(path, name);
    if (present !== undefined && (present.version === version || !exact.test(version))) continue;
    const platform = platformOf(name);
    if (!exact.test(version) || platform === undefined) {
      problems.push(`package-lock.json: ${path}: cannot complete its optional dependency ${name}@${version}`);
      continue;
    }
    // Another version at the top is in the way: then it goes below the package that wants it.
    const place = present === undefined ? `node_modules/${name}` : `${path}/node_modules/${name}`;
    missing[place] = { version, ...(entry.dev ? { dev: true } : {}), optional: true, ...platform };
  }
}

const locked = lock.packages[""] ?? {};
for (const kind of ["dependencies", "devDependencies", "optionalDependencies"] as const) {
  for (const [name, version] of Object.entries(manifest[kind] ?? {})) {
    if (!exact.test(version)) problems.push(`package.json: ${name} must be pinned exactly, not "${version}"`);
    if (locked[kind]?.[name] !== version) problems.push(`package-lock.json: ${name} is not locked as ${version}`);
  }
}

if (process.argv.includes("--check")) {
  for (const [path, { version }] of Object.entries(missing))
    problems.push(`package-lock.json: ${path} ${version} is missing`);
  if (Object.keys(missing).length > 0) problems.push("Run: node scripts/complete-lockfile.ts");
} else if (Object.keys(missing).length > 0) {
  const byPath = ([a]: [string, Entry], [b]: [string, Entry]) => a.localeCompare(b, "en");
  lock.packages = Object.fromEntries(Object.entries({ ...lock.packages, ...missing }).sort(byPath));
  writeFileSync(lockPath, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`${Object.keys(missing).length} entries added to package-lock.json`);
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
