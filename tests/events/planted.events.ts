import { readdirSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Copy } from "../checks/copy.ts";
import { copyRepository } from "../checks/copy.ts";
import { top } from "../support/commands.ts";

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

/** What vitest reports of a file, as far as it is read here. */
interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly title: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

let copy: Copy;
beforeAll(async () => {
  copy = await copyRepository();
});
afterAll(() => copy[Symbol.asyncDispose]());

/** How a test came out; of one that is red the first line of why. */
interface Outcome {
  readonly status: string;
  readonly why: string;
}

/** Runs the tests of a file in the copy; answers how each that ran came out, by its title. */
async function outcomes(file: string, only?: string): Promise<ReadonlyMap<string, Outcome>> {
  const output = join(copy.path, "outcomes.json");
  const filter = only === undefined ? [] : ["-t", only];
  const ended = await copy.run("vitest", "run", file, ...filter, "--reporter=json", `--outputFile=${output}`);
  const text = await readFile(output, "utf8").catch(() => undefined);
  if (text === undefined) throw new Error(`vitest says nothing of ${file}:\n${ended.stdout}\n${ended.stderr}`);
  await rm(output);
  const { testResults } = JSON.parse(text) as Report;
  const ran = testResults.flatMap(({ assertionResults }) => assertionResults);
  const outcomeOf = ({ status, failureMessages: [why = ""] }: (typeof ran)[number]) => ({
    status,
    why: why.split("\n")[0] ?? "",
  });
  return new Map(ran.filter(({ status }) => status !== "skipped").map((one) => [one.title, outcomeOf(one)]));
}

async function apply(bug: string, ...options: readonly string[]): Promise<void> {
  const { code, stderr } = await copy.run("git", "apply", ...options, join("tests/events/planted", `${bug}.patch`));
  if (code !== 0) throw new Error(`planted/${bug}.patch does not apply any more; make it anew:\n${stderr}`);
}

test("every patch has its check, and all checks are green without one", async () => {
  const patches = readdirSync(join(top, "tests/events/planted")).map((name) => name.replace(/\.patch$/, ""));
  expect(new Set(patches)).toEqual(new Set(bugs.map(({ bug }) => bug)));
  for (const file of [relay, inbox]) {
    const found = await outcomes(file);
    for (const { check } of bugs.filter((planted) => planted.file === file))
      expect(found.get(check)?.status).toBe("passed");
    expect([...found].filter(([, { status }]) => status !== "passed")).toEqual([]);
  }
});

test.each(bugs)("$bug is caught by: $check", async ({ bug, file, check, seed }) => {
  await apply(bug);
  try {
    const found = await outcomes(file, check);
    const outcome = found.get(check);
    const drawn = seed === undefined ? "no seed, nothing is drawn" : `seed ${String(seed)}`;
    const verdict = outcome?.status === "failed" ? "caught" : "NOT caught";
    process.stdout.write(`${bug}: ${verdict} (${drawn})\n  by "${check}"\n  ${outcome?.why ?? ""}\n`);
    expect([[...found.keys()], outcome?.status]).toEqual([[check], "failed"]);
  } finally {
    await apply(bug, "-R");
  }
});
