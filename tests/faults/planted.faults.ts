import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { top } from "../support/commands.ts";
import type { PlantedCopy } from "../support/planted.ts";
import { copyForPlanting } from "../support/planted.ts";
import { rounds } from "./report.ts";

/** A defect as a patch of the real code, and the scenario of this suite that has to find it. */
interface Planted {
  /** Its name in planted/. */
  readonly bug: string;
  /** In checkout/, without its ending. */
  readonly file: "crashes" | "races" | "random";
  /** A part of the title of the scenario. */
  readonly scenario: string;
  /** What it breaks: the number of a promise, or what the scenario itself expects. */
  readonly breaks: string;
  /** Of the random histories. */
  readonly seed?: number;
}

const bugs: readonly Planted[] = [];

const folder = "tests/faults/planted";
/** A slice takes three of them. */
const chosen = rounds >= 20 ? bugs : bugs.filter((_, index) => index % Math.ceil(bugs.length / 3) === 0);
const lines: string[] = [];

let copy: PlantedCopy;
beforeAll(async () => {
  copy = await copyForPlanting(folder);
});
afterAll(async () => {
  await copy[Symbol.asyncDispose]();
  console.info(`\nPlanted bugs\n${lines.join("\n")}\n`);
});

test("every patch is in the list, and applies", async () => {
  const patches = readdirSync(join(top, folder)).map((name) => name.replace(/\.patch$/, ""));
  expect(new Set(patches)).toEqual(new Set(bugs.map(({ bug }) => bug)));
  for (const { bug } of bugs) await (await copy.plant(bug))[Symbol.asyncDispose]();
});

test.each(chosen)("$bug is caught by $file: $scenario", async ({ bug, file, scenario, breaks, seed }) => {
  await using _planted = await copy.plant(bug);
  const found = await copy.outcomes(`tests/faults/checkout/${file}.faults.ts`, scenario, {
    config: "vitest.faults.config.ts",
    env: { FAULT_ROUNDS: "20", ...(seed !== undefined && { FAULT_SEED: String(seed) }) },
  });
  const failed = [...found.values()].find(({ status }) => status === "failed");
  const drawn = seed === undefined ? "no seed" : `seed ${String(seed)}`;
  lines.push(`${failed ? "caught" : "NOT CAUGHT"}  ${bug} (${drawn}): ${breaks}, by ${file}: ${scenario}`);
  expect(failed?.why ?? "nothing failed").toContain(breaks);
});
