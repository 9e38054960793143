import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { RELEASE, buildImage } from "./checks/breaking.ts";
import { root } from "./checks/source.ts";

/** Makes the contract as it is the one that later changes must not break. CHANGELOG.md has to say what is in it. */
new Command("npm run release:proto")
  .description(
    `Writes ${RELEASE}: the contract that later changes must not break. Wants an entry for the version of package.json in CHANGELOG.md.`,
  )
  .parse();

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
const entry = changesIn(version);
const failure =
  entry === ""
    ? `CHANGELOG.md says nothing under "## [${version}]"; write down what changes for clients, first.`
    : buildImage(RELEASE, "--exclude-source-info");
if (failure !== "") {
  console.error(failure);
  process.exitCode = 1;
} else {
  console.log(`${RELEASE} is the contract of ${version}.`);
}

/** What the changelog says of a version; empty where it has no heading for it, or nothing below. */
function changesIn(wanted: string): string {
  const sections = readFileSync(join(root, "CHANGELOG.md"), "utf8").split(/^## /m);
  const section = sections.find((text) => text.startsWith(`[${wanted}]`)) ?? "";
  return section.slice(section.indexOf("\n") + 1).trim();
}
