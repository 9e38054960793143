import { existsSync, globSync, readFileSync } from "node:fs";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "./conditions.ts";
import { top } from "./commands.ts";

/** What a process does at a point: it is killed, stopped (SIGSTOP), waits until it is let go, or throws. */
export type Action = "kill" | "stop" | "wait" | "fail";

/** The points at which the processes of a test can be made to fail; see programs/failpoints.ts. */
export interface Failpoints {
  /** Of the processes that can be armed. */
  readonly env: Readonly<Record<string, string>>;
  /** Has the first process that comes to a point do something there, once. */
  arm(name: string, action: Action): Promise<void>;
  /** Resolves with the pid of the process that has come to an armed point. @throws Error where none does */
  reached(name: string, withinMs?: number): Promise<number>;
  /** Takes back what is armed, where nobody has come by; answers whether that was so. */
  disarm(name: string): Promise<boolean>;
  /** Lets go on who waits at a point. */
  release(name: string): Promise<void>;
  /** The points that any process has passed so far. */
  passed(): Promise<ReadonlySet<string>>;
}

/** @param folder that is empty, for what is armed */
export function createFailpoints(folder: string): Failpoints {
  const reached = (name: string) => !existsSync(join(folder, name));
  return {
    env: { FAILPOINTS: folder, NODE_OPTIONS: `--import=${join(top, "tests/support/programs/failpoints.ts")}` },
    async arm(name, action) {
      // What was left by one that was armed here before.
      for (const left of globSync(`${name}.*`, { cwd: folder })) await rm(join(folder, left));
      // Whole at once: a process may be about to come by.
      await writeFile(join(folder, `${name}.half`), action);
      await rename(join(folder, `${name}.half`), join(folder, name));
    },
    async reached(name, withinMs = 20_000) {
      await until(() => reached(name), withinMs).catch(() => {
        throw new Error(`no process came to ${name}`);
      });
      const taken = globSync(`${name}.[0-9]*`, { cwd: folder });
      return Number(taken[0]?.slice(name.length + 1));
    },
    async disarm(name) {
      return rm(join(folder, name)).then(
        () => true,
        () => false,
      );
    },
    release: (name) => writeFile(join(folder, `${name}.go`), ""),
    async passed() {
      const text = await readFile(join(folder, "passed"), "utf8").catch(() => "");
      return new Set(text.split("\n").filter((name) => name !== ""));
    },
  };
}

/** What the saga of an order does, as its points name it. */
const STEPS = ["reserve", "authorize", "commit", "capture", "void", "release", "settle", "refund", "return"];

/** Every point that the sources mark, by role. @throws Error where a name stands twice */
export function markedFailpoints(): ReadonlyMap<string, readonly string[]> {
  const names = globSync("src/roles/*/*.ts", { cwd: top })
    .flatMap((file) => [...readFileSync(join(top, file), "utf8").matchAll(/^\s*\/\/ failpoint: (\S+)$/gm)])
    .flatMap(([, name = ""]) => (name.includes("${") ? STEPS.map((step) => name.replace(/\$\{.*\}/, step)) : [name]))
    .sort();
  const twice = names.find((name, index) => names[index - 1] === name);
  if (twice !== undefined) throw new Error(`the failpoint ${twice} stands twice`);
  const byRole = new Map<string, string[]>();
  for (const name of names) {
    const role = name.slice(0, name.indexOf("."));
    byRole.set(role, [...(byRole.get(role) ?? []), name]);
  }
  return byRole;
}
