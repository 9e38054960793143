/**
 * Runs the static checks one after another; `npm run check` is what CI runs before the tests.
 *
 *   node scripts/check.ts             all of them
 *   node scripts/check.ts lint tsc    only these
 *   node scripts/check.ts --help      their names
 */
import { breaksTheRelease } from "./checks/breaking.ts";
import { command } from "./checks/command.ts";
import { generatedIsCurrent } from "./checks/generated.ts";
import { checkImports } from "./checks/imports.ts";

/** What went wrong; an empty string when nothing did. */
type Check = { about: string; run: () => string };

const checks: Record<string, Check> = {
  format: { about: "every file is formatted (npm run format)", run: () => command("biome", "format", ".") },
  lint: {
    about: "oxlint finds nothing, with type information",
    run: () => command("oxlint", "--type-aware", "--deny-warnings"),
  },
  tsc: { about: "types are right", run: () => command("tsc", "--pretty", "false") },
  imports: {
    about: "who may import what, no circles (the rules: scripts/checks/imports.ts)",
    run: checkImports,
  },
  unused: {
    about: "no file, export or dependency is unused",
    run: () => command("knip", "--no-progress", "--treat-config-hints-as-errors"),
  },
  buf: { about: "proto files build and follow the lint rules", run: () => command("buf", "lint") },
  breaking: {
    about: "the contract breaks no client of the last release (proto/release.binpb, npm run release:proto)",
    run: breaksTheRelease,
  },
  generated: { about: "gen/ is what `npm run generate` would write", run: generatedIsCurrent },
  vendored: {
    about: "proto/third_party is what the pinned packages hold",
    run: () => command("node", "scripts/vendor-protos.ts", "--check"),
  },
  migrations: {
    about: "up, down one by one, up again; schema.sql and docs/data-model.md are current (npm run dump-schema)",
    run: () => command("node", "scripts/dump-schema.ts", "--check"),
  },
  configuration: {
    about: "docs/configuration.md and .env.example have every key and no other (npm run docs)",
    run: () => command("node", "scripts/docs.ts", "--check", "configuration"),
  },
  errors: {
    about: "docs/errors.md and each errors.ts list the reasons of the proto files (npm run docs)",
    run: () => command("node", "scripts/docs.ts", "--check", "errors"),
  },
  docs: {
    about: "the table and the folders of docs/architecture.md are current (npm run docs)",
    run: () => command("node", "scripts/docs.ts", "--check", "architecture"),
  },
  lockfile: {
    about: "package-lock.json covers every platform, versions are exact",
    run: () => command("node", "scripts/complete-lockfile.ts", "--check"),
  },
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(checks, name) && name !== "--help");
if (wanted.includes("--help") || unknown.length > 0) {
  if (unknown.length > 0) console.error(`No such check: ${unknown.join(", ")}`);
  console.log("node scripts/check.ts [name …]");
  for (const [name, { about }] of Object.entries(checks)) console.log(`  ${name.padEnd(13)} ${about}`);
  process.exitCode = unknown.length > 0 ? 2 : 0;
} else {
  for (const [name, { run }] of Object.entries(checks)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const start = performance.now();
    const failure = run();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(failure === "" ? `ok  ${name} ${seconds} s` : `FAILED  ${name} ${seconds} s\n${failure}\n`);
    if (failure !== "") process.exitCode = 1;
  }
}
