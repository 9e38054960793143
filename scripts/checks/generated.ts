import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "./command.ts";
import { root } from "./source.ts";

/** Generates into a temporary folder and compares; what is committed is never touched. */
export function generatedIsCurrent(): string {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-gen-"));
  try {
    const failure =
      command("buf", "generate", "--output", folder) || command("node", "scripts/generate-client.ts", folder);
    if (failure !== "") return failure;
    const stale = ["gen", "clients/ts/src/gen"].flatMap((place) => staleIn(place, folder));
    if (stale.length === 0) return "";
    return [...stale.map((path) => `differs: ${path}`), "Run: npm run generate"].join("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function staleIn(place: string, folder: string): string[] {
  const expected = filesBelow(join(folder, place));
  const actual = filesBelow(join(root, place));
  const paths = new Set([...expected.keys(), ...actual.keys()]);
  const stale = [...paths].sort().filter((path) => expected.get(path) !== actual.get(path));
  return stale.map((path) => `${place}/${path}`);
}

function filesBelow(folder: string): Map<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.map((path) => [path.slice(folder.length + 1), readFileSync(path, "utf8")]));
}
