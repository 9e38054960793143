import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Copy } from "../checks/copy.ts";
import { copyRepository } from "../checks/copy.ts";

/** How a test came out; of one that is red what it complained of. */
export interface Outcome {
  readonly status: string;
  readonly why: string;
}

/** A copy of the repository in which defects are planted, as patches of a folder, to see tests find them. */
export interface PlantedCopy extends AsyncDisposable {
  /** Runs the tests of a file, or those whose title has a text; answers how each that ran came out, by its title. */
  outcomes(file: string, only?: string, options?: OutcomeOptions): Promise<ReadonlyMap<string, Outcome>>;
  /** Applies a patch. @throws Error where it does not apply any more */
  plant(bug: string): Promise<AsyncDisposable>;
}

export interface OutcomeOptions {
  /** Of vitest; its own where it is left out. */
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
}

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

/** @param folder of the patches, from the top */
export async function copyForPlanting(folder: string): Promise<PlantedCopy> {
  const copy: Copy = await copyRepository();
  const patch = (bug: string) => join(folder, `${bug}.patch`);

  async function apply(bug: string, ...options: readonly string[]): Promise<void> {
    const { code, stderr } = await copy.run("git", "apply", ...options, patch(bug));
    if (code !== 0) throw new Error(`${patch(bug)} does not apply any more; make it anew:\n${stderr}`);
  }

  return {
    async outcomes(file, only, { config, env = {} } = {}) {
      const output = join(copy.path, "outcomes.json");
      const filter = only === undefined ? [] : ["-t", only];
      const given = config === undefined ? [] : ["--config", config];
      const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      const vitest = ["vitest", "run", ...given, file, ...filter, "--reporter=json", `--outputFile=${output}`];
      const ended = await copy.run("env", ...variables, ...vitest);
      const text = await readFile(output, "utf8").catch(() => undefined);
      if (text === undefined) throw new Error(`vitest says nothing of ${file}:\n${ended.stdout}\n${ended.stderr}`);
      await rm(output);
      const { testResults } = JSON.parse(text) as Report;
      const ran = testResults.flatMap(({ assertionResults }) => assertionResults);
      const outcomeOf = ({ status, failureMessages: [why = ""] }: (typeof ran)[number]) => ({ status, why });
      return new Map(ran.filter(({ status }) => status !== "skipped").map((one) => [one.title, outcomeOf(one)]));
    },
    async plant(bug) {
      await apply(bug);
      return { [Symbol.asyncDispose]: () => apply(bug, "-R") };
    },
    [Symbol.asyncDispose]: () => copy[Symbol.asyncDispose](),
  };
}
