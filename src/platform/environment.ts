import { existsSync, readFileSync } from "node:fs";
import { parseEnv } from "node:util";

/** Names and their values: none empty, aliases resolved. */
export type Environment = Readonly<Record<string, string>>;

/**
 * The environment of the process over what `.env` in the working folder says. Empty means unset; in the file, spaces
 * around `=` are allowed and `${NAME}` stands for another value.
 */
export function readEnvironment(env: NodeJS.ProcessEnv = process.env, file = ".env"): Environment {
  const fromFile = existsSync(file) ? parseFile(readFileSync(file, "utf8")) : {};
  return mergeEnvironment(env, fromFile);
}

/** Without what parseEnv of Node 24 stumbles over: after `KEY = ` it takes the next line as the value, and a BOM as a name. */
function parseFile(text: string): NodeJS.Dict<string> {
  return parseEnv(text.replace(/^\uFEFF/, "").replace(/=[ \t]+$/gm, "="));
}

/** The pure part of {@link readEnvironment}. */
export function mergeEnvironment(env: NodeJS.ProcessEnv, fromFile: NodeJS.ProcessEnv): Environment {
  const merged: Record<string, string> = {};
  for (const source of [fromFile, env]) {
    for (const [name, value] of Object.entries(source)) {
      const trimmed = value?.trim();
      if (trimmed) merged[name] = trimmed;
    }
  }
  for (const name of Object.keys(fromFile)) {
    const value = merged[name];
    if (value === fromFile[name]?.trim() && value) {
      merged[name] = value.replace(/\$\{(\w+)\}/g, (_, other: string) => merged[other] ?? "");
    }
  }
  return merged;
}
