/**
 * Builds the package of clients/ts into its dist/: JavaScript modules and their types, for `npm pack` and `npm publish`.
 */
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./checks/command.ts";
import { parse, root } from "./checks/source.ts";

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const place = join(root, "clients/ts");
const dist = join(place, "dist");
const client = read(join(place, "package.json"));

rmSync(dist, { recursive: true, force: true });
const complaints = [command("tsc", "-p", place, "--pretty", "false"), ...differences()].filter((text) => text !== "");
if (complaints.length === 0) complaints.push(...finish());
for (const complaint of complaints) console.error(complaint);
if (complaints.length > 0) process.exitCode = 1;

function read(file: string): Manifest {
  return JSON.parse(readFileSync(file, "utf8")) as Manifest;
}

/** The package has the version of the project, and what it stands on at least in the versions of the project. */
function differences(): string[] {
  const project = read(join(root, "package.json"));
  const installed: Record<string, string> = { ...project.dependencies, ...project.devDependencies };
  const ranges = Object.entries(client.dependencies)
    .filter(([name, range]) => range !== `^${installed[name] ?? ""}`)
    .map(
      ([name, range]) => `clients/ts/package.json wants ${name} ${range}, the project has ${String(installed[name])}`,
    );
  if (client.version === project.version) return ranges;
  return [...ranges, `clients/ts/package.json is ${client.version}, the project ${project.version}`];
}

/** Writes the imports of the types as those of the code, and answers each import that a browser could not follow. */
function finish(): string[] {
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((file) => /\.(?:js|d\.ts)$/.test(file));
  return files.flatMap((file) => {
    const path = join(dist, file);
    // tsc rewrites the endings of imports in .js files only.
    const text = readFileSync(path, "utf8").replaceAll(/(?<=(?:from |import\()"\.{1,2}\/[^"]*)\.ts(?=")/g, ".js");
    writeFileSync(path, text);
    return parse(text)
      .imports.filter(({ specifier }) => !isKnown(specifier))
      .map(({ specifier }) => `clients/ts/dist/${file} imports ${specifier}, which its package does not bring`);
  });
}

function isKnown(specifier: string): boolean {
  if (specifier.startsWith(".")) return specifier.endsWith(".js");
  return Object.keys(client.dependencies).some((name) => specifier === name || specifier.startsWith(`${name}/`));
}
