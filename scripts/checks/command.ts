import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import { root } from "./source.ts";

const tools = join(root, "node_modules", ".bin");

/** Runs a tool of the project; answers what it complained about, an empty string where it ended well. */
export function command(name: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${tools}${delimiter}${process.env["PATH"] ?? ""}` };
  // On Windows the tools are .cmd files, which only a shell can start; no argument here needs quoting.
  const shell = process.platform === "win32";
  const { status, signal, error, stdout, stderr } = spawnSync(name, args, {
    cwd: root,
    env,
    shell,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status === 0) return "";
  const output = [stdout, stderr].join("").trim();
  return output || `${name}: ${error?.message ?? `ended with ${signal ?? status}, printing nothing`}`;
}
