/** What is done again and again. */
export interface Job {
  /** Resolves with how many things were done. @throws Failure, or what else went wrong */
  call(): Promise<number>;
  close(): Promise<void> | void;
}

/** A call that was answered, but not with what was asked for. */
export class Failure extends Error {
  override readonly name = "Failure";
  /** What failures are counted by. */
  readonly code: string;

  constructor(code: string, message = code) {
    super(message);
    this.code = code;
  }
}

/** How calls come. */
export type Arrivals =
  /** So many callers, each of whom waits for its answer before it asks again. */
  | { readonly kind: "closed"; readonly callers: number }
  /** So many calls a second, whatever becomes of them. */
  | { readonly kind: "open"; readonly perSecond: number }
  /** Each caller calls once, and the window is as long as that takes. */
  | { readonly kind: "once"; readonly callers: number };

export interface Window {
  /** Milliseconds before it that do not count. */
  readonly warmupMs: number;
  readonly ms: number;
}

/** What a load did. Latencies are milliseconds; in the open loop from when the call should have begun. */
export interface Tally {
  /** Things done within the window. */
  readonly done: number;
  /** Calls of the window that were answered. */
  readonly calls: number;
  /** Of the window. */
  readonly ms: number;
  /** Things done from the first call to the last, warm-up and aftermath too. */
  readonly acknowledged: number;
  /** By code, of all calls. */
  readonly failures: Readonly<Record<string, number>>;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Told when the window begins and ends, so that others measure the same time. */
export interface Marks {
  begin(): void;
  end(): void;
}

/** Calls that may be under way in the open loop; what comes over it waits, and its wait counts. */
const MOST_OPEN = 1_000;

/** Runs a job as the arrivals say and resolves when every call is answered. */
export async function runLoad(job: Job, arrivals: Arrivals, window: Window, marks: Marks): Promise<Tally> {
  const tally = createTally();
  const call = async (intendedAt: number) => {
    try {
      tally.done(await job.call(), intendedAt);
    } catch (error) {
      tally.failed(error);
    }
  };
  switch (arrivals.kind) {
    case "closed": {
      const over = openWindow(window, tally, marks);
      await Promise.all(
        Array.from({ length: arrivals.callers }, async () => {
          while (!over.isOver()) await call(performance.now());
        }),
      );
      await over.ended;
      break;
    }
    case "open":
      await callAtRate(call, arrivals.perSecond, openWindow(window, tally, marks));
      break;
    case "once": {
      marks.begin();
      tally.begin();
      const startedAt = performance.now();
      await Promise.all(Array.from({ length: arrivals.callers }, () => call(startedAt)));
      tally.end();
      marks.end();
      break;
    }
  }
  return tally.result();
}

interface OpenWindow {
  isOver(): boolean;
  readonly ended: Promise<void>;
}

function openWindow({ warmupMs, ms }: Window, tally: ReturnType<typeof createTally>, marks: Marks): OpenWindow {
  let isOver = false;
  const ended = new Promise<void>((resolve) => {
    setTimeout(() => {
      tally.begin();
      marks.begin();
      setTimeout(() => {
        tally.end();
        marks.end();
        isOver = true;
        resolve();
      }, ms);
    }, warmupMs);
  });
  return { isOver: () => isOver, ended };
}

/** Begins calls when they are due. Those that fell due during a stall begin late, and the stall is in their latency. */
async function callAtRate(call: (at: number) => Promise<void>, perSecond: number, over: OpenWindow): Promise<void> {
  const underWay = new Set<Promise<void>>();
  const due: number[] = [];
  const stepMs = 1_000 / perSecond;
  let next = performance.now();
  const begin = () => {
    while (underWay.size < MOST_OPEN) {
      const at = due.shift();
      if (at === undefined) return;
      const one = call(at).finally(() => {
        underWay.delete(one);
        begin();
      });
      underWay.add(one);
    }
  };
  while (!over.isOver()) {
    for (const now = performance.now(); next <= now; next += stepMs) due.push(next);
    begin();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  while (underWay.size > 0) await Promise.race(underWay);
}

function createTally() {
  const latencies: number[] = [];
  const failures: Record<string, number> = {};
  let counts = false;
  let [things, acknowledged, beganAt, endedAt] = [0, 0, 0, 0];
  return {
    begin() {
      counts = true;
      beganAt = performance.now();
    },
    end() {
      counts = false;
      endedAt = performance.now();
    },
    done(count: number, since: number) {
      acknowledged += count;
      if (!counts) return;
      things += count;
      latencies.push(performance.now() - since);
    },
    failed(error: unknown) {
      const code = error instanceof Failure ? error.code : ((error as NodeJS.ErrnoException).code ?? String(error));
      failures[code] = (failures[code] ?? 0) + 1;
    },
    result(): Tally {
      const sorted = Float64Array.from(latencies).sort();
      const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
      const ms = endedAt - beganAt;
      return {
        done: things,
        calls: sorted.length,
        ms,
        acknowledged,
        failures,
        p50: at(0.5),
        p99: at(0.99),
        max: at(1),
      };
    },
  };
}
