import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { MemberOrder, MemberWord } from "./programs/member.ts";

const PROGRAM = fileURLToPath(new URL("programs/member.ts", import.meta.url));

/** A process of its own on the bus. */
export interface Member extends AsyncDisposable {
  /** What it got so far. */
  readonly got: readonly string[];
  /** Resolves when it is gone. */
  kill(): Promise<void>;
}

export function startMember(order: MemberOrder): Member {
  const child = fork(PROGRAM, [JSON.stringify(order)]);
  const got: string[] = [];
  child.on("message", (word) => got.push(...(word as MemberWord)));
  const exited = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  return { got, kill, [Symbol.asyncDispose]: kill };
}
