import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import type { Place } from "./place.ts";

export interface Outcome {
  readonly code: number | null;
  /** The end of what it printed. */
  readonly output: string;
}

export interface RunOptions {
  /** In a process group of its own and without our pipes, so that neither Ctrl-C nor our end reaches what it starts. */
  readonly detached?: boolean;
  /** Ends the program with SIGTERM; the run then fails with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const KEPT_OUTPUT = 8_000;

/** Runs one of Postgres's programs to its end as the account of the place, with an environment free of PG* settings. */
export function run(
  place: Place,
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const { detached = false, signal } = options;
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = spawn(join(place.binaries.native, "bin", program), args, {
      ...place.account,
      detached,
      cwd: dirname(place.dataPath),
      env: environment(),
      stdio: detached ? "ignore" : ["ignore", "pipe", "pipe"],
      windowsHide: true,
    });
    const end = () => child.kill("SIGTERM");
    signal?.addEventListener("abort", end, { once: true });
    let output = "";
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-KEPT_OUTPUT);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("error", (cause) => {
      reject(new Error(`${program} of the embedded Postgres cannot be run here; give DATABASE_URL.`, { cause }));
    });
    child.on("close", (code) => {
      signal?.removeEventListener("abort", end);
      if (signal?.aborted) reject(signal.reason as Error);
      else resolve({ code, output });
    });
  });
}

/** The part of an output that says why a program failed. */
export function lastLines(output: string): string {
  return output.trim().split("\n").slice(-6).join("\n");
}

/** LC_ALL=C keeps the messages English: some are recognised. */
function environment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { LC_ALL: "C" };
  for (const name of ["PATH", "SystemRoot", "TEMP", "TMP"]) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}
