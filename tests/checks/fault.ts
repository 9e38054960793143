import { afterAll, beforeAll, expect, test } from "vitest";
import type { Copy, Plant } from "./copy.ts";
import { copyRepository } from "./copy.ts";

/** Something wrong that a check has to find. */
export interface Fault {
  readonly what: string;
  /** Its name in scripts/check.ts. */
  readonly check: string;
  readonly plant: Plant;
  /** What the check has to say: the file, and what to do. */
  readonly says: readonly string[];
}

/** A test per fault: planted in a copy of the repository, its check is red and says so; undone, it is green. */
export function findsFaults(faults: readonly Fault[]): void {
  let copy: Copy;
  beforeAll(async () => {
    copy = await copyRepository();
  });
  afterAll(() => copy[Symbol.asyncDispose]());

  test.each(faults)("$check finds $what", async ({ what, check, plant, says }) => {
    await using _planted = await copy.plant(plant);
    const { code, stdout, stderr } = await copy.run("node", "scripts/check.ts", check);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
    for (const text of says) expect(stdout).toContain(text);
    const line = stdout.split("\n").find((text) => text.includes(says[0] ?? "")) ?? "";
    process.stdout.write(`${what}\n  ${check}: ${line.trim().slice(0, 150)}\n`);
  });

  test("with every fault undone, the same checks are green", async () => {
    const names = [...new Set(faults.map(({ check }) => check))];
    const { code, stdout } = await copy.run("node", "scripts/check.ts", ...names);
    expect({ code, stdout }).toMatchObject({ code: 0 });
    expect(stdout.match(/^ok {2}/gm)).toHaveLength(names.length);
  });
}
