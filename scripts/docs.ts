import { Command } from "commander";
import { absentFolders, architecturePages } from "./docs/architecture.ts";
import { configurationPages, unknownKeys } from "./docs/configuration.ts";
import { errorDifferences, errorPages } from "./docs/errors.ts";
import { eventPages } from "./docs/events.ts";
import { openApiPages } from "./docs/openapi.ts";
import { comparePages, writePages } from "./docs/page.ts";
import type { Page } from "./docs/page.ts";
import { securityPages, staleChecks } from "./docs/security.ts";
import { staleText } from "./docs/snippets.ts";

interface Part {
  readonly pages: () => Promise<Page[]> | Page[];
  /** What is wrong with what the pages are made of. */
  readonly findings: () => Promise<string[]> | string[];
}

const parts: Readonly<Record<string, Part>> = {
  configuration: { pages: configurationPages, findings: unknownKeys },
  errors: { pages: errorPages, findings: errorDifferences },
  events: { pages: eventPages, findings: () => [] },
  architecture: { pages: architecturePages, findings: absentFolders },
  security: { pages: securityPages, findings: staleChecks },
  openapi: { pages: openApiPages, findings: () => [] },
  snippets: { pages: () => [], findings: staleText },
};

const program = new Command("npm run docs --")
  .description("Writes what can be derived into docs/ and .env.example. docs/data-model.md: npm run dump-schema.")
  .argument("[parts...]", `all of ${Object.keys(parts).join(", ")}`)
  .option("--check", "compare instead of writing; also find what the pages could not say")
  .parse();
const { check = false } = program.opts<{ check?: boolean }>();
const stranger = program.args.find((name) => !Object.hasOwn(parts, name));
if (stranger !== undefined) program.error(`There is no part "${stranger}".`, { exitCode: 2 });

for (const [name, part] of Object.entries(parts)) {
  if (program.args.length > 0 && !program.args.includes(name)) continue;
  const problems = await settle(part).catch((error: unknown) => [
    error instanceof Error ? error.message : String(error),
  ]);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}

/** Writes or compares the pages of a part; answers what is wrong. */
async function settle({ pages, findings }: Part): Promise<string[]> {
  const written = await pages();
  if (check) return [...(await findings()), ...comparePages(written, "npm run docs")];
  writePages(written);
  return [];
}
