import type { JobSpec } from "./jobs.ts";
import { jobs } from "./jobs.ts";
import type { Arrivals, Job, Tally, Window } from "./loops.ts";
import { runLoad } from "./loops.ts";

/** What the load generator, a process of its own, is asked. */
export interface LoadRequest {
  readonly spec: JobSpec;
  readonly arrivals: Arrivals;
  readonly window: Window;
}

/** What it tells: the marks of the window, then the result. */
export type LoadReport = { readonly at: "begin" | "end" } | { readonly tally: Tally } | { readonly error: string };

const report = (message: LoadReport) => process.send?.(message);

async function run({ spec, arrivals, window }: LoadRequest): Promise<Tally> {
  const open = jobs[spec.job] as (options: unknown) => Job | Promise<Job>;
  const job = await open(spec.options);
  const marks = {
    begin: () => report({ at: "begin" }),
    end: () => report({ at: "end" }),
  };
  try {
    return await runLoad(job, arrivals, window, marks);
  } finally {
    await job.close();
  }
}

process.on("message", (request: LoadRequest) => {
  run(request).then(
    (tally) => report({ tally }),
    (error: unknown) => report({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
// Whoever asked is gone.
process.on("disconnect", () => process.exit(0));
