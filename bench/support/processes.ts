import { fork, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { bareEnv } from "../../tests/support/environment.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));

/** `node src/main.ts` in a process of its own, whose log goes to a file: nobody's CPU reads it. */
export interface Server extends AsyncDisposable {
  readonly pid: number;
  /** By role. */
  readonly ports: Readonly<Record<string, number>>;
  /** Milliseconds from the spawn until it said that it listens; to 2 ms. */
  readonly startMs: number;
  /** All that it printed so far. */
  output(): string;
}

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

/** @throws Error with its output where it ends instead */
export async function startServer(
  env: Readonly<Record<string, string>>,
  folder: string,
  name: string,
): Promise<Server> {
  const file = join(folder, `${name}-${String(performance.now())}.log`);
  const fd = openSync(file, "w");
  const startedAt = performance.now();
  const child = spawn(process.execPath, [join(top, "src/main.ts")], {
    cwd: top,
    env: { ...bareEnv, LOG_FORMAT: "json", ...env },
    stdio: ["ignore", fd, fd],
  });
  closeSync(fd);
  running.add(child);
  const ended = once(child, "close").then(() => running.delete(child));
  const output = () => readFileSync(file, "utf8");
  for (;;) {
    const line = /^\{.*"msg":"listening".*$/m.exec(output())?.[0];
    if (line !== undefined) {
      const { ports } = JSON.parse(line) as { ports: Record<string, number> };
      return {
        pid: child.pid ?? 0,
        ports,
        startMs: performance.now() - startedAt,
        output,
        async [Symbol.asyncDispose]() {
          child.kill("SIGTERM");
          await ended;
        },
      };
    }
    if (child.exitCode !== null) throw new Error(`${name} ended with ${String(child.exitCode)}:\n${output()}`);
    await delay(2);
  }
}

/** A program of the bench in a process of its own that is talked to by messages. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  send(message: object): void;
  /** Calls with each message until the returned function is called. */
  listen(onMessage: (message: unknown) => void): () => void;
  /** Rejects when it ends before it is disposed of. */
  readonly failed: Promise<never>;
}

export function startProgram(path: string): Program {
  const child = fork(join(top, path), { cwd: top, env: bareEnv });
  running.add(child);
  let isOver = false;
  const failed = new Promise<never>((_, reject) => {
    child.once("exit", (code) => {
      running.delete(child);
      if (!isOver) reject(new Error(`${path} ended with ${String(code)}`));
    });
  });
  failed.catch(() => undefined);
  return {
    pid: child.pid ?? 0,
    send: (message) => {
      child.send(message);
    },
    listen(onMessage) {
      child.on("message", onMessage);
      return () => child.off("message", onMessage);
    },
    failed,
    async [Symbol.asyncDispose]() {
      isOver = true;
      if (child.exitCode !== null) return;
      child.disconnect();
      await once(child, "exit");
    },
  };
}
