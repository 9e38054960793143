import { existsSync } from "node:fs";
import { join } from "node:path";
import { databaseName } from "../../src/platform/database-name.ts";
import type { Registry } from "../../src/platform/role.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { readSources, root } from "../checks/source.ts";
import type { Page } from "./page.ts";
import { between, readPage, table } from "./page.ts";

const FILE = "docs/architecture.md";
const registry: Registry = allRoles;

/** The pages with a table of the roles, as the registry has it; the rest of them is written by hand. */
export function architecturePages(): Page[] {
  const rows = Object.entries(registry).map(([role, { port, database, services, edge }]) => [
    role,
    String(port),
    database ? databaseName(role) : "",
    [...services.map(({ name }) => name), ...(edge ? ["what clients may call of the others"] : [])].join(", ") ||
      "plain HTTP, to roles and browsers",
    edge ? "every role" : asksOf(role).join(", "),
  ]);
  const roles = table(["role", "port", "database", "serves", "asks"], rows);
  return [FILE, "README.md"].map((file) => ({ file, text: between(readPage(file), "roles", roles) }));
}

/** The roles whose messages a role's peers.ts knows. */
function asksOf(role: string): string[] {
  const file = `src/roles/${role}/peers.ts`;
  if (!existsSync(join(root, file))) return [];
  const peers = readSources(file).flatMap(({ imports }) =>
    imports.map(({ specifier }) => /^#gen\/commerce\/(?<peer>\w+)\//.exec(specifier)?.groups?.["peer"] ?? ""),
  );
  return Object.keys(registry).filter((peer) => peer !== role && peers.includes(peer));
}

/** Files and folders that the page names in its list and that are not there. */
export function absentFolders(): string[] {
  const list = /```text\n(?<list>.*?)```/s.exec(readPage(FILE))?.groups?.["list"] ?? "";
  const named = list.split("\n").flatMap((line) => /^(?<path>[\w./-]+)\s/.exec(line)?.groups?.["path"] ?? []);
  if (named.length === 0) return [`${FILE} has no list of folders`];
  return named
    .filter((path) => !existsSync(join(root, path)))
    .map((path) => `${FILE} names ${path}, which is not there`);
}
