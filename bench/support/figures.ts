/** What one round of one series showed. */
export interface Round {
  /** In the unit of its series. */
  readonly value: number;
  /** Milliseconds. */
  readonly p50?: number;
  readonly p99?: number;
  readonly max?: number;
  /** What was answered OK, and the rows that are there of it. */
  readonly acknowledged?: number;
  readonly rows?: number;
  readonly failures?: Readonly<Record<string, number>>;
  /** Microseconds of CPU of each process per thing done. */
  readonly cpu?: Readonly<Record<string, number>>;
  /** Cores that were busy with what is none of the bench. */
  readonly otherCores?: number;
  /** MiB of each process, the most that was seen. */
  readonly rss?: Readonly<Record<string, number>>;
  readonly backlog?: Backlog;
  readonly notes?: Readonly<Record<string, string | number>>;
}

/** Orders that are not settled when the load ends. */
export interface Backlog {
  readonly pending: number;
  readonly oldestSeconds: number;
  /** Until none was left. */
  readonly drainSeconds: number;
}

/** One line of the report: what is measured again in each round. */
export interface Plan {
  readonly name: string;
  readonly unit: "/s" | "ms" | "µs";
  /** What it is measured against: names of other series of the bench. */
  readonly against?: readonly string[];
  run(): Promise<Round>;
}

export interface Series {
  readonly name: string;
  readonly unit: Plan["unit"];
  readonly rounds: readonly Round[];
}

export interface Ratio {
  readonly of: string;
  readonly against: string;
  /** Of the medians. */
  readonly ratio: number;
  /** The lowest and highest ratio of two neighbouring rounds. */
  readonly lowest: number;
  readonly highest: number;
}

export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/**
 * Runs the plans in turns, so that what the machine does meanwhile falls on all of them. With `isWarmed` a round before
 * the first does not count: code is compiled and caches are filled in it.
 */
export async function interleave(
  plans: readonly Plan[],
  rounds: number,
  isWarmed: boolean,
  onRound: (plan: Plan, round: Round) => void,
): Promise<Series[]> {
  const all = plans.map(() => [] as Round[]);
  if (isWarmed) for (const plan of plans) await plan.run();
  for (let n = 0; n < rounds; n += 1) {
    for (const [index, plan] of plans.entries()) {
      const round = await plan.run();
      all[index]?.push(round);
      onRound(plan, round);
    }
  }
  return plans.map(({ name, unit }, index) => ({ name, unit, rounds: all[index] ?? [] }));
}

export function ratiosOf(plans: readonly Plan[], series: readonly Series[]): Ratio[] {
  const valuesOf = (name: string) => series.find((one) => one.name === name)?.rounds.map(({ value }) => value) ?? [];
  return plans.flatMap(({ name, against = [] }) =>
    against.map((other): Ratio => {
      const [own, others] = [valuesOf(name), valuesOf(other)];
      const each = own.map((value, n) => value / (others[n] ?? Number.NaN));
      const ratio = medianOf(own) / medianOf(others);
      return { of: name, against: other, ratio, lowest: Math.min(...each), highest: Math.max(...each) };
    }),
  );
}

/** What is wrong with a round: answers without rows, rows without answers, failures. */
export function faultsOf({ acknowledged, rows, failures = {} }: Round): string[] {
  const failed = Object.values(failures).reduce((sum, count) => sum + count, 0);
  const faults: string[] = [];
  if (acknowledged !== undefined && rows !== undefined) {
    if (rows < acknowledged) faults.push(`${String(acknowledged - rows)} acknowledged but not there`);
    // A call that failed may have had its effect.
    if (rows > acknowledged + failed) faults.push(`${String(rows - acknowledged)} there but not acknowledged`);
  }
  return faults;
}
