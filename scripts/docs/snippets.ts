import { existsSync, readdirSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import type { Registry } from "../../src/platform/role.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { root } from "../checks/source.ts";
import { readPage } from "./page.ts";

const registry: Registry = allRoles;

/** The test that runs the snippets of a page, with `snippetsOf`. */
const RUNNERS: Readonly<Record<string, string>> = {
  "README.md": "tests/journeys/readme.test.ts",
  "docs/adding-a-role.md": "tests/checks/new-role.checks.ts",
  "clients/ts/README.md": "tests/client/client.test.ts",
};

/** Pictures: nobody would paste them. */
const PICTURES = ["text", "mermaid"];

/** The role that docs/adding-a-role.md makes; its own test calls it. */
const EXAMPLE = "wishlist";

/** A fenced block of a page. */
export interface Snippet {
  readonly language: string;
  readonly code: string;
  /** The line of the page on which its code begins, from 1. */
  readonly line: number;
  /** Why nothing runs it, from `<!-- not run: … -->` in the line above; undefined where the page's test does. */
  readonly notRun: string | undefined;
}

const BLOCK =
  /(?:^[ ]*<!-- not run: (?<reason>[^\n]+?) -->\n)?^[ ]*(?<fence>`{3,}|~{3,})(?<language>[^\n]*)\n(?<code>.*?)^[ ]*\k<fence>[ ]*$/gms;

/** The fenced blocks of a page that its test has to run, in their order; pictures are left out. */
export function snippetsOf(page: string): Snippet[] {
  return blocksOf(page).filter(({ notRun }) => notRun === undefined);
}

function blocksOf(page: string): Snippet[] {
  const text = readPage(page);
  const blocks = [...text.matchAll(BLOCK)].map(({ 0: whole, index, groups }) => {
    const { reason, language = "", code = "" } = groups ?? {};
    const line = text.slice(0, index + whole.indexOf(code, whole.indexOf("\n"))).split("\n").length;
    return { language: language.trim(), code: code.trimEnd(), line, notRun: reason };
  });
  return blocks.filter(({ language }) => !PICTURES.includes(language));
}

/** The pages that people read. */
function pages(): string[] {
  const below = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" });
  const docs = below.filter((file) => file.endsWith(".md")).map((file) => `docs/${file.replaceAll("\\", "/")}`);
  return ["README.md", "CONTRIBUTING.md", "clients/ts/README.md", ...docs.sort()];
}

/** Snippets that nothing runs, and names on the pages that do not exist. */
export function staleText(): string[] {
  const { scripts } = JSON.parse(readPage("package.json")) as { scripts: Record<string, string> };
  return pages().flatMap((page) => {
    const text = readPage(page);
    const at = (index: number) => `${page}:${String(text.slice(0, index).split("\n").length)}`;
    const commands = [...text.matchAll(/(?:`|^|[;&] )npm run (?:-s )?(?<name>[a-z][\w:-]*)/gm)]
      .filter(({ groups }) => !Object.hasOwn(scripts, groups?.["name"] ?? ""))
      .map(
        ({ groups, index }) =>
          `${at(index)} names npm run ${groups?.["name"] ?? ""}, which package.json does not have; correct the page`,
      );
    const links = [...text.matchAll(/\]\((?<target>[^)#:\s]+)(?:#[^)]*)?\)/g)]
      .filter(({ groups }) => !existsSync(join(root, posix.join(dirname(page), groups?.["target"] ?? ""))))
      .map(({ groups, index }) => `${at(index)} links to ${groups?.["target"] ?? ""}, which is not there; correct it`);
    const methods = [...text.matchAll(/commerce\.(?<role>\w+)\.v1\.(?<service>\w+)\/(?<method>\w+)/g)]
      .filter(({ groups }) => groups?.["role"] !== EXAMPLE && !isMethod(groups ?? {}))
      .map(({ 0: path, index }) => `${at(index)} calls ${path}, which no proto file has; correct the page`);
    return [...unrun(page), ...commands, ...links, ...methods];
  });
}

function isMethod({ role = "", service, method }: Readonly<Record<string, string | undefined>>): boolean {
  const services = registry[role]?.services.filter(({ name }) => name === service) ?? [];
  return services.some(({ methods }) => methods.some(({ name }) => name === method));
}

/** Blocks that neither a test runs nor a reason excuses. */
function unrun(page: string): string[] {
  const runner = RUNNERS[page];
  const isRun = runner !== undefined && readPage(runner).includes(`snippetsOf("${page}")`);
  return blocksOf(page).flatMap(({ language, line, notRun }) => {
    if (notRun !== undefined || (isRun && /^(?:sh|ts)$/.test(language))) return [];
    const what = `${page}:${String(line)} is a snippet ${language === "" ? "without a language" : `of ${language}`}`;
    const whose = isRun
      ? `${runner} runs only sh and ts`
      : "no test runs this page's (RUNNERS in scripts/docs/snippets.ts)";
    return [`${what}, but ${whose}; run it, or write <!-- not run: <why> --> above it`];
  });
}
