/**
 * Runs the static checks one after another; `npm run check` is what CI runs before the tests.
 *
 *   node scripts/check.ts             all of them
 *   node scripts/check.ts lint tsc    only these
 *   node scripts/check.ts --help      their names
 */
import { everyMethodHasAccess } from "./checks/access.ts";
import { everyMethodHasHttp } from "./checks/http.ts";
import { breaksTheRelease } from "./checks/breaking.ts";
import { command } from "./checks/command.ts";
import { generatedIsCurrent } from "./checks/generated.ts";
import { checkImports } from "./checks/imports.ts";
import { mailsAreCurrent } from "./checks/mails.ts";

/** What went wrong; an empty string when nothing did. */
type Check = {
  about: string;
  run: () => string;
  /** What to do, where the findings themselves do not say it. */
  mend?: string;
};

const checks: Record<string, Check> = {
  format: {
    about: "every file is formatted",
    run: () =>
      command("biome", "format", ".") || command("buf", "format", "--diff", "--exit-code", "--path", "proto/commerce"),
    mend: "npm run format; proto files: npx buf format --write --path proto/commerce",
  },
  lint: {
    about: "oxlint finds nothing, with type information",
    run: () => command("oxlint", "--type-aware", "--deny-warnings"),
    mend: "correct the code; the rules are in .oxlintrc.json",
  },
  tsc: {
    about: "types are right",
    run: () => command("tsc", "--pretty", "false"),
    mend: "correct the code; where a method or message is missing: npm run generate",
  },
  imports: {
    about: "who may import what, no circles (the rules: scripts/checks/imports.ts)",
    run: checkImports,
  },
  unused: {
    about: "no file, export or dependency is unused",
    run: () => command("knip", "--no-progress", "--treat-config-hints-as-errors"),
    mend: "delete it, or use it; what starts by itself is an entry in knip.jsonc",
  },
  buf: {
    about: "proto files build, follow the lint rules and are commented",
    run: () => command("buf", "lint"),
    mend: "correct the proto file; each rpc, message, field, enum and value has a comment (buf.yaml)",
  },
  access: {
    about: "each rpc says who may call it, and has its row in tests/journeys/access-matrix.ts",
    run: everyMethodHasAccess,
    mend: "write an option (commerce.common.v1.access), see proto/commerce/common/v1/access.proto, and what is promised into the table",
  },
  http: {
    about: "each rpc that REST can serve to outsiders has its path, and no two have one",
    run: everyMethodHasHttp,
    mend: "write an option (google.api.http), see proto/third_party/google/api/http.proto",
  },
  breaking: {
    about: "the contract breaks no client of the last release (proto/release.binpb, npm run release:proto)",
    run: breaksTheRelease,
    mend: "keep the old field or method below proto/ and add a new one; only a release moves proto/release.binpb",
  },
  generated: { about: "gen/, also the client's, is what `npm run generate` would write", run: generatedIsCurrent },
  mails: {
    about: "the layout of mails is what its MJML compiles to",
    run: mailsAreCurrent,
    mend: "npm run mails",
  },
  vendored: {
    about: "proto/third_party is what the pinned packages hold",
    run: () => command("node", "scripts/vendor-protos.ts", "--check"),
  },
  migrations: {
    about: "up, down one by one, up again; schema.sql and docs/data-model.md are current",
    run: () => command("node", "scripts/dump-schema.ts", "--check"),
    mend: "npm run dump-schema, or correct the migration's up and down",
  },
  configuration: {
    about: "docs/configuration.md and .env.example have every key and no other",
    run: () => command("node", "scripts/docs.ts", "--check", "configuration"),
    mend: "npm run docs; what code reads beside it belongs into a config spec",
  },
  errors: {
    about: "docs/errors.md and each errors.ts list the reasons of the proto files",
    run: () => command("node", "scripts/docs.ts", "--check", "errors"),
    mend: "make errors.ts and the ErrorReason of the proto file say the same, then npm run docs",
  },
  docs: {
    about:
      "docs/architecture.md, events.md and security.md are current; each snippet of the pages is run; what they name is there",
    run: () => command("node", "scripts/docs.ts", "--check", "architecture", "events", "security", "snippets"),
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
  for (const [name, { run, mend }] of Object.entries(checks)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const start = performance.now();
    const failure = run();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const advice = mend === undefined ? "" : `\nTo do: ${mend}`;
    console.log(failure === "" ? `ok  ${name} ${seconds} s` : `FAILED  ${name} ${seconds} s\n${failure}${advice}\n`);
    if (failure !== "") process.exitCode = 1;
  }
}
