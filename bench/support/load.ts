import type { JobSpec } from "../load/jobs.ts";
import type { Arrivals, Tally, Window } from "../load/loops.ts";
import type { LoadReport, LoadRequest } from "../load/program.ts";
import { startProgram } from "./processes.ts";

/** Told of the window as it happens, so that what others did in it can be measured. */
export interface Observer {
  readonly begin: () => void | Promise<void>;
  readonly end: () => void | Promise<void>;
}

/** Runs one load in a process of its own, with its pid at its beginning. @throws Error where the job could not be run */
export async function runLoad(
  spec: JobSpec,
  arrivals: Arrivals,
  window: Window,
  observer: (pid: number) => Observer,
): Promise<Tally> {
  await using program = startProgram("bench/load/program.ts");
  const { begin, end } = observer(program.pid);
  const marks: Promise<void>[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<Tally>();
  const stop = program.listen((message) => {
    const report = message as LoadReport;
    if ("at" in report) marks.push(Promise.resolve(report.at === "begin" ? begin() : end()));
    else if ("tally" in report) resolve(report.tally);
    else reject(new Error(report.error));
  });
  program.send({ spec, arrivals, window } satisfies LoadRequest);
  try {
    const tally = await Promise.race([promise, program.failed]);
    await Promise.all(marks);
    return tally;
  } finally {
    stop();
  }
}
