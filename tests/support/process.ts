import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { bareEnv } from "./environment.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));

/** What every server of a test starts with. */
const BASE = { ...bareEnv, LOG_FORMAT: "json" };

/** One line of a server's log. */
export type LogLine = Readonly<Record<string, unknown>>;

/** A server in a process of its own that may not listen yet. */
export interface LaunchedProcess extends AsyncDisposable {
  readonly pid: number;
  /** All that it logged so far. */
  readonly log: readonly LogLine[];
  /** All that it printed so far. */
  output(): string;
  /** Resolves with the first line, past or to come, that the predicate takes. */
  logged(predicate: (line: LogLine) => boolean): Promise<LogLine>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
}

/** A server in a process of its own, as an operator starts it. */
export interface ServerProcess extends LaunchedProcess {
  /** The ports that it opened, by role. */
  readonly ports: Readonly<Record<string, number>>;
}

/** Runs `node src/main.ts` with this environment alone and resolves when it listens. @throws Error with its output */
export async function startProcess(env: Readonly<Record<string, string>>, cwd = top): Promise<ServerProcess> {
  const launched = launchProcess(env, cwd);
  const listening = await launched.logged(({ msg }) => msg === "listening");
  return { ...launched, ports: listening["ports"] as Record<string, number> };
}

const running = new Set<ChildProcess>();
const endAll = () => {
  for (const child of running) child.kill("SIGKILL");
};
process.once("exit", endAll);
// Whoever ran the tests was broken off, or gave this file up: its servers end with it.
for (const end of ["SIGTERM", "disconnect"] as const) {
  process.once(end, () => {
    process.exit(1);
  });
}

/**
 * Runs `node src/main.ts` with this environment alone and does not wait for it.
 * @param leads a process group of its own, as what a terminal runs does
 */
export function launchProcess(env: Readonly<Record<string, string>>, cwd = top, leads = false): LaunchedProcess {
  const child = spawn(process.execPath, [`${top}src/main.ts`], {
    cwd,
    detached: leads,
    env: { ...BASE, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  const log: LogLine[] = [];
  let output = "";
  const waiting = new Set<() => void>();
  const note = (text: string) => {
    output += `${text}\n`;
    if (text.startsWith("{")) log.push(JSON.parse(text) as LogLine);
    for (const look of waiting) look();
  };
  createInterface({ input: child.stdout }).on("line", note);
  createInterface({ input: child.stderr }).on("line", note);
  const exited = once(child, "close").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);

  const logged = (predicate: (line: LogLine) => boolean): Promise<LogLine> => {
    const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
    const look = () => {
      const line = log.find(predicate);
      if (line) resolve(line);
    };
    waiting.add(look);
    look();
    void exited.then((code) => {
      reject(new Error(`the server ended with ${String(code)}:\n${output}`));
    });
    return promise.finally(() => waiting.delete(look));
  };

  return {
    pid: child.pid ?? 0,
    log,
    output: () => output,
    logged,
    kill: (signal) => {
      child.kill(signal);
    },
    exited,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}
