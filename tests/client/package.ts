import { execFile, execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const top = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);
const programs = join(import.meta.dirname, "programs");

/** What the package stands on, as its package.json says; nothing else is there to be found. */
const DEPENDENCIES = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"];

/** As an engineer would set it who wants to know everything. */
const TSCONFIG = {
  compilerOptions: {
    target: "es2022",
    lib: ["es2022", "dom", "dom.iterable"],
    module: "nodenext",
    types: [],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    verbatimModuleSyntax: true,
    skipLibCheck: false,
  },
};

/** A folder with programs of the package, which is installed there as npm would. */
export interface Consumer extends AsyncDisposable {
  readonly path: string;
  /** The Node that runs the programs, for example `v20.11.0`. */
  readonly nodeVersion: string;
  /** Runs a program of its own to its end; what it prints, a line each time. */
  start(program: string, onLine?: (line: string) => void): Promise<string[]>;
  /** Calls a function of a program in a Node of its own. What it answers is JSON. */
  call<T>(program: string, name: string, argument: object, onLine?: (line: string) => void): Promise<T>;
}

/**
 * Builds and packs the package, unpacks it into an empty folder, and compiles programs there: tests/client/programs and
 * those that are given by their names without `.ts`.
 * @throws Error with what the compiler says
 */
export async function installPackage(more: Readonly<Record<string, string>>): Promise<Consumer> {
  const path = await mkdtemp(join(tmpdir(), "connect-commerce-consumer-"));
  try {
    await run(process.execPath, [join(top, "scripts/build-client.ts")], { cwd: top });
    const modules = join(path, "node_modules");
    const place = join(modules, "@connect-commerce/client");
    await mkdir(place, { recursive: true });
    await run("npm", ["pack", "--pack-destination", path], { cwd: join(top, "clients/ts") });
    const tarball = (await readdir(path)).find((name) => name.endsWith(".tgz")) ?? "";
    await run("tar", ["-xzf", join(path, tarball), "-C", place, "--strip-components=1"]);
    for (const name of DEPENDENCIES) {
      await cp(join(top, "node_modules", name), join(modules, name), { recursive: true, dereference: true });
    }
    await writeFile(join(path, "package.json"), JSON.stringify({ type: "module" }));
    await writeFile(join(path, "tsconfig.json"), JSON.stringify(TSCONFIG));
    await compile(path, more);
    return openConsumer(path);
  } catch (error) {
    await rm(path, { recursive: true, force: true });
    throw error;
  }
}

async function compile(path: string, more: Readonly<Record<string, string>>): Promise<void> {
  for (const file of await readdir(programs)) await cp(join(programs, file), join(path, file));
  for (const [name, text] of Object.entries(more)) await writeFile(join(path, `${name}.ts`), text);
  const tsc = join(top, "node_modules/.bin/tsc");
  await run(tsc, ["-p", path, "--pretty", "false"]).catch((error: Error & { stdout?: string }) => {
    throw new Error(`a program of the package does not compile:\n${error.stdout ?? ""}`, { cause: error });
  });
  await writeFile(join(path, "call.mjs"), CALL);
}

function openConsumer(path: string): Consumer {
  const node = consumerNode();
  return {
    path,
    nodeVersion: node.version,
    start: (program, onLine) => print(node.path, [join(path, `${program}.js`)], onLine),
    async call(program, name, argument, onLine) {
      const given = JSON.stringify(argument);
      const lines = await print(node.path, [join(path, "call.mjs"), `./${program}.js`, name, given], onLine);
      return JSON.parse(lines.at(-1) ?? "null");
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

const CALL = `
const [file, name, given] = process.argv.slice(2);
const program = await import(file);
console.log(JSON.stringify(await program[name](JSON.parse(given))));
`;

/** Runs to the end and answers the lines. @throws Error with what it complained about */
async function print(node: string, args: string[], onLine?: (line: string) => void): Promise<string[]> {
  const running = run(node, args, { timeout: 50_000 });
  let rest = "";
  running.child.stdout?.on("data", (piece: string) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine?.(line);
  });
  const { stdout } = await running;
  return stdout.trimEnd().split("\n");
}

/** The oldest Node that the package is for, where this machine has one beside the project's own. */
function consumerNode(): { path: string; version: string } {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const others = folders
    .filter((folder) => !folder.includes(`node_modules${sep}`))
    .map((folder) => join(folder, "node"));
  for (const path of others) {
    try {
      const version = execFileSync(path, ["--version"], { encoding: "utf8", stdio: "pipe" }).trim();
      const major = Number(/^v(\d+)/.exec(version)?.[1]);
      if (major >= 20 && major < 24) return { path, version };
    } catch {
      // No Node in this folder.
    }
  }
  return { path: process.execPath, version: process.version };
}
