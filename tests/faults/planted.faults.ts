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

const lastUnits = "everybody wants the last units";
const cancelAnywhere = "CancelOrder while the saga stands at each point of its way";
const pastTheHold = "a provider that hangs past the end of the hold";
const anything = "whatever happens in whichever order";
const lateCall = (point: string) => `a call that stands at ${point} until its order is cancelled`;

const bugs: readonly Planted[] = [
  // Of the database's check of what is reserved both take a part away: else it refuses what they allow.
  { bug: "levels-before-the-lock", file: "races", scenario: lastUnits, breaks: "I1 stock" },
  { bug: "held-units-sold-again", file: "races", scenario: lastUnits, breaks: "I1 stock" },
  { bug: "less-than-ordered", file: "races", scenario: lastUnits, breaks: "I4 order" },
  {
    bug: "release-without-tombstone",
    file: "races",
    scenario: lateCall("inventory.reserve.begun"),
    breaks: "what comes late at inventory.reserve.begun is kept",
  },
  {
    bug: "void-without-tombstone",
    file: "races",
    scenario: lateCall("payment.authorize.begun"),
    breaks: "what comes late at payment.authorize.begun is kept",
  },
  {
    bug: "late-answer-overwrites-the-void",
    file: "races",
    scenario: lateCall("payment.authorize.answered"),
    breaks: "what comes late at payment.authorize.answered is kept",
  },
  { bug: "expired-hold-committed", file: "races", scenario: pastTheHold, breaks: "I4 order" },
  { bug: "committed-but-not-voided", file: "races", scenario: pastTheHold, breaks: "I14 order" },
  {
    bug: "lease-is-not-fenced",
    file: "races",
    scenario: "SIGSTOP of the saga's owner at order.authorize.answered",
    breaks: "an order is carried on by one who has lost its lease",
  },
  {
    bug: "capture-before-commit",
    file: "races",
    scenario: cancelAnywhere,
    breaks: "the order that was cancelled at order.",
  },
  {
    bug: "cancel-forgotten-after-the-capture",
    file: "races",
    scenario: cancelAnywhere,
    breaks: "the order that was cancelled at order.",
  },
  {
    bug: "cancel-ignored-at-the-pivot",
    file: "races",
    scenario: cancelAnywhere,
    breaks: "money was taken of what was cancelled at",
  },
  {
    bug: "refund-with-a-new-key",
    file: "crashes",
    scenario: "kill -9 at payment.refund.intended",
    breaks: "I5 payment",
  },
  { bug: "refund-anew-each-time", file: "crashes", scenario: "kill -9 at order.refund.answered", breaks: "I3 order" },
  // The next three bring their own marks: the file takes every point that there is.
  {
    bug: "saga-in-a-second-statement",
    file: "crashes",
    scenario: "kill -9 at order.place.recorded",
    breaks: "I12 order",
  },
  {
    bug: "booked-after-the-commit",
    file: "crashes",
    scenario: "kill -9 at payment.capture.unbooked",
    breaks: "I6 payment",
  },
  {
    bug: "key-in-a-second-statement",
    file: "crashes",
    scenario: "kill -9 at order.place.unclaimed",
    breaks: "I2 stock",
  },
  { bug: "void-never-told", file: "crashes", scenario: "kill -9 at payment.void.intended", breaks: "I5 payment" },
  {
    bug: "nobody-reconciles",
    file: "crashes",
    scenario: "kill -9 at payment.capture.intended",
    breaks: "I12 payment",
  },
  { bug: "returned-twice", file: "crashes", scenario: "kill -9 at inventory.return.committed", breaks: "I2 order" },
  // A new point changes what a seed draws: these need nothing that is rare.
  { bug: "cancelled-stock-not-back", file: "random", scenario: anything, breaks: "I2 order", seed: 7 },
  { bug: "last-step-with-the-old-state", file: "random", scenario: anything, breaks: "I13 order", seed: 7 },
];

const folder = "tests/faults/planted";
/** A slice takes the first; that all patches apply is looked at each time. */
const chosen = rounds >= 20 ? bugs : bugs.slice(0, 1);
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
