import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import type { JobSpec } from "./load/jobs.ts";
import { createOrder, getProduct, queryProducts } from "./support/calls.ts";
import { addCatalogue } from "./support/catalogue.ts";
import type { CpuProfile, Inspector } from "./support/inspector.ts";
import { openInspector } from "./support/inspector.ts";
import { runLoad } from "./support/load.ts";
import { load, withPausedSagas } from "./support/measure.ts";
import { largest, summarise } from "./support/profile-summary.ts";
import { short, table } from "./support/report.ts";
import type { Shop, Topology } from "./support/shop.ts";
import { startShop } from "./support/shop.ts";

/** `npm run bench:profile -- [call]`: where the CPU of each process goes per call; see bench/README.md. */
const calls: Readonly<Record<string, (shop: Shop, skus: readonly string[]) => Promise<JobSpec>>> = {
  recorded: (shop, skus) => createOrder(shop, skus, 3, false),
  settled: (shop, skus) => createOrder(shop, skus, 1, true),
  "get-product": (shop) => getProduct(shop),
  "query-products": (shop) => Promise.resolve(queryProducts(shop)),
};

const SKUS = 1_000;
/** Of each table. */
const PACKAGES = 14;
/** A process that takes less of a call is left out. */
const LEAST_MICROS = 20;
const RESULTS = join(import.meta.dirname, "results");

const command = new Command("profile")
  .argument("[call]", Object.keys(calls).join(", "), "get-product")
  .option("--topology <which>", "apart or one", "apart")
  .option("--callers <n>", "that call at once", "64")
  .option("--seconds <n>", "that are profiled", "10")
  .option("--warmup <n>", "seconds before them, in which code is compiled", "10")
  .option("--paused", "orders wait until the end: what recording alone takes")
  .option("--top <n>", "functions of each process", "25")
  .parse();
const flags = command.opts<
  Record<"topology" | "callers" | "seconds" | "warmup" | "top", string> & { paused?: boolean }
>();
const [name = "get-product"] = command.processedArgs as string[];
const call = calls[name] ?? command.error(`no such call: ${name}`);

await using shop = await startShop({ topology: flags.topology as Topology, isInspected: true });
const spec = await call(shop, await addCatalogue(shop, SKUS));
const inspectors = new Map<string, Inspector>();
for (const { name: process, server } of shop.processes) inspectors.set(process, await openInspector(server.output()));

const pause = <T>(run: () => Promise<T>) => (flags.paused === true ? withPausedSagas(shop, run) : run());
const arrivals = { kind: "closed", callers: Number(flags.callers) } as const;
const ms = Number(flags.seconds) * 1_000;
const profiles = new Map<string, CpuProfile>();
// The profiler takes CPU of its own: how much a call takes is measured without it, and how that is divided with it.
const { plain, tally } = await pause(async () => {
  const warmupMs = Number(flags.warmup) * 1_000;
  return {
    plain: await load(shop, spec, arrivals, { warmupMs, ms }),
    tally: await runLoad(spec, arrivals, { warmupMs: 500, ms }, () => ({
      begin: async () => {
        await Promise.all([...inspectors.values()].map((inspector) => inspector.start()));
      },
      end: async () => {
        for (const [process, inspector] of inspectors) profiles.set(process, await inspector.stop());
      },
    })),
  };
});
for (const inspector of inspectors.values()) inspector.close();

console.log(`${name}: ${short(plain.value)}/s, ${short((tally.done * 1_000) / tally.ms)}/s under the profiler`);
console.log(
  `CPU, µs per call: ${Object.entries(plain.cpu ?? {})
    .map(([of, micros]) => `${of} ${short(micros)}`)
    .join(", ")}`,
);
await mkdir(RESULTS, { recursive: true });
for (const [process, profile] of profiles) {
  await writeFile(join(RESULTS, `${name}-${process}.cpuprofile`), JSON.stringify(profile));
  print(process, profile);
}

/** The CPU of the process is what the kernel says, of all its threads; the profile of its main one says how it is divided. */
function print(process: string, profile: CpuProfile): void {
  const { busyMs, packages, charged, functions } = summarise(profile);
  const perCall = plain.cpu?.[process] ?? 0;
  if (perCall < LEAST_MICROS) return;
  const share = (part: number) => [`${((part / busyMs) * 100).toFixed(1)} %`, short((perCall * part) / busyMs)];
  console.log(`\n${process}: ${short(perCall)} µs of CPU per call\n`);
  const names = [...largest(packages, PACKAGES), ...largest(charged, PACKAGES)].map(([of]) => of);
  const rows = [...new Set(names)].map((of) => [of, ...share(packages.get(of) ?? 0), ...share(charged.get(of) ?? 0)]);
  console.log(table(["package", "self", "µs", "with Node's for it", "µs"], rows));
  const top = largest(functions, Number(flags.top)).map(([of, part]) => [of, ...share(part)]);
  console.log(`\n${table(["function", "self", "µs"], top)}`);
}
