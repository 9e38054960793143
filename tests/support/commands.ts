import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bareEnv } from "./environment.ts";

/** The top of the repository. */
export const top = fileURLToPath(new URL("../..", import.meta.url));
const tools = join(top, "node_modules", ".bin");

/** Milliseconds after which a command that does not end is killed. */
const LIMIT_MS = 25_000;

/** A command that has ended. */
export interface Ended {
  /** The exit code, or the name of the signal that ended it. */
  readonly code: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** The whole environment beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What it reads on its standard input. */
  readonly input?: string;
}

/** Runs a command to its end; the project's own tools are found first. One that does not end is killed. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { env = {}, cwd = top, input = "" } = options;
  const path = `${tools}${delimiter}${process.env["PATH"] ?? ""}`;
  const child = spawn(command, args, {
    cwd,
    env: { ...bareEnv, PATH: path, ...env },
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  // A command that does not read its input may be gone before it is written.
  child.stdin.on("error", () => undefined).end(input);
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const [stdout, stderr, [code, signal]] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
  return { code: code ?? signal ?? "SIGKILL", stdout, stderr };
}

/** What a command printed. @throws Error with its complaint where it failed */
export function outputOf({ code, stdout, stderr }: Ended): string {
  if (code !== 0) throw new Error(`the command ended with ${String(code)}:\n${stderr}`);
  return stdout;
}

/** Runs a file of this repository with the Node that runs the tests. */
export function runNode(file: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Ended> {
  return run(process.execPath, [join(top, file), ...args], options);
}
