import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { top } from "../support/commands.ts";
import type { PlantedCopy } from "../support/planted.ts";
import { copyForPlanting } from "../support/planted.ts";

/** A defect as a patch of the real code, and the test that has to find it. */
interface Planted {
  /** Its name in planted/. */
  readonly bug: string;
  readonly file: string;
  readonly check: string;
  /** Of the numbers that the check draws, where it draws any. */
  readonly seed?: number;
}

const relay = "tests/events/relay.test.ts";
const inbox = "tests/events/inbox.test.ts";

const bugs: readonly Planted[] = [
  { bug: "publish-before-commit", file: relay, check: "publishes nothing of a change that is rolled back" },
  {
    bug: "relay-by-cursor",
    file: relay,
    check: "publishes what commits late, though later events are published already",
  },
  {
    bug: "relay-by-cursor",
    file: inbox,
    check: "two relays and two inboxes over a bus that doubles, drops and reorders: each effect once and in order",
    seed: 42,
  },
  { bug: "inbox-outside-the-transaction", file: inbox, check: "leaves no half of an effect behind" },
  { bug: "acknowledgement-before-commit", file: inbox, check: "what could not be committed is delivered again" },
  { bug: "no-fencing", file: relay, check: "marks of one that lost its leases while it published are refused" },
  {
    bug: "no-deadline-of-the-lease",
    file: relay,
    check: "one that was stopped for longer than its lease publishes nothing before it has asked again",
  },
];

const folder = "tests/events/planted";
let copy: PlantedCopy;
beforeAll(async () => {
  copy = await copyForPlanting(folder);
});
afterAll(() => copy[Symbol.asyncDispose]());

test("every patch has its check, and all checks are green without one", async () => {
  const patches = readdirSync(join(top, folder)).map((name) => name.replace(/\.patch$/, ""));
  expect(new Set(patches)).toEqual(new Set(bugs.map(({ bug }) => bug)));
  for (const file of [relay, inbox]) {
    const found = await copy.outcomes(file);
    for (const { check } of bugs.filter((planted) => planted.file === file))
      expect(found.get(check)?.status).toBe("passed");
    expect([...found].filter(([, { status }]) => status !== "passed")).toEqual([]);
  }
});

test.each(bugs)("$bug is caught by: $check", async ({ bug, file, check, seed }) => {
  await using _planted = await copy.plant(bug);
  const found = await copy.outcomes(file, check);
  const outcome = found.get(check);
  const drawn = seed === undefined ? "no seed, nothing is drawn" : `seed ${String(seed)}`;
  const verdict = outcome?.status === "failed" ? "caught" : "NOT caught";
  process.stdout.write(`${bug}: ${verdict} (${drawn})\n  by "${check}"\n  ${outcome?.why.split("\n")[0] ?? ""}\n`);
  expect([[...found.keys()], outcome?.status]).toEqual([[check], "failed"]);
});
