import { execFile } from "node:child_process";
import { existsSync, lstatSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Ended } from "../support/commands.ts";
import { top } from "../support/commands.ts";

/** What to make of files, by their path from the root: their whole new text, or the text that comes of the old one. */
export type Plant = Readonly<Record<string, string | ((text: string) => string)>>;

/** A copy of this repository that a test may spoil. */
export interface Copy extends AsyncDisposable {
  readonly path: string;
  /** What its commands run in, beside what is given. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs a command in it to its end; the project's own tools are found first. */
  run(command: string, ...args: string[]): Promise<Ended>;
  /** Changes files until it is disposed of. */
  plant(changes: Plant): Promise<AsyncDisposable>;
}

const execute = promisify(execFile);

const PREFIX = "connect-commerce-copy-";
/** Milliseconds after which a command that does not end is killed. */
const LIMIT_MS = 240_000;
/** Milliseconds after which a copy is one that a killed run left. */
const LEFT_MS = 3_600_000;

/** Copies what is in the working folder and git does not ignore, committed or not; node_modules is a link. */
export async function copyRepository(): Promise<Copy> {
  await sweep();
  const path = await realpath(await mkdtemp(join(tmpdir(), PREFIX)));
  try {
    await fill(path);
    return openCopy(path);
  } catch (error) {
    await rm(path, { recursive: true, force: true });
    throw error;
  }
}

async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const path = join(tmpdir(), name);
    if (!name.startsWith(PREFIX) || Date.now() - (lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) < LEFT_MS)
      continue;
    await rm(path, { recursive: true, force: true });
  }
}

async function fill(path: string): Promise<void> {
  // As root Postgres runs as another account, which has to pass.
  await chmod(path, 0o711);
  const listed = await execute("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: top });
  for (const file of new Set(listed.stdout.split("\0"))) {
    // Deleted, or a link.
    if (file === "" || !lstatSync(join(top, file), { throwIfNoEntry: false })?.isFile()) continue;
    await mkdir(dirname(join(path, file)), { recursive: true });
    await copyFile(join(top, file), join(path, file));
  }
  await symlink(await realpath(join(top, "node_modules")), join(path, "node_modules"), "junction");
}

function openCopy(path: string): Copy {
  const tools = join(path, "node_modules", ".bin");
  const env = {
    PATH: `${tools}${delimiter}${process.env["PATH"] ?? ""}`,
    HOME: process.env["HOME"] ?? "",
    NO_COLOR: "1",
  };
  return {
    path,
    env,
    run(command, ...args) {
      return new Promise((resolve) => {
        const options = { cwd: path, env, timeout: LIMIT_MS, maxBuffer: 64 * 1024 * 1024 };
        const child = execFile(command, args, options, (_error, stdout, stderr) => {
          resolve({ code: child.exitCode ?? child.signalCode ?? "SIGKILL", stdout, stderr });
        });
      });
    },
    async plant(changes) {
      const undo: (() => Promise<void>)[] = [];
      for (const [file, change] of Object.entries(changes)) {
        const place = join(path, file);
        const old = existsSync(place) ? await readFile(place, "utf8") : undefined;
        const made = await mkdir(dirname(place), { recursive: true });
        await writeFile(place, typeof change === "string" ? change : change(old ?? ""));
        undo.unshift(() => (old === undefined ? rm(made ?? place, { recursive: true }) : writeFile(place, old)));
      }
      return {
        async [Symbol.asyncDispose]() {
          for (const step of undo) await step();
        },
      };
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** Replaces a text that must be there, else the fault is no fault. */
export function replacing(old: string, now: string): (text: string) => string {
  return (text) => {
    if (!text.includes(old)) throw new Error(`There is no "${old}" to replace.`);
    return text.replace(old, () => now);
  };
}

/** Adds to the end of a file. */
export function adding(code: string): (text: string) => string {
  return (text) => `${text}${code}\n`;
}

/** Adds to the beginning of a file, where imports stand. */
export function beginning(code: string): (text: string) => string {
  return (text) => `${code}\n${text}`;
}
