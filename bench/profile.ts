import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import type { JobSpec } from "./load/jobs.ts";
import { createOrder, getProduct, queryProducts } from "./support/calls.ts";
import { addCatalogue } from "./support/catalogue.ts";
import type { CpuProfile, Inspector } from "./support/inspector.ts";
import { openInspector } from "./support/inspector.ts";
import { runLoad } from "./support/load.ts";
import { cpuMs } from "./support/machine.ts";
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
const RESULTS = join(import.meta.dirname, "results");

const command = new Command("profile")
  .argument("[call]", Object.keys(calls).join(", "), "get-product")
  .option("--topology <which>", "apart or one", "apart")
  .option("--callers <n>", "that call at once", "64")
  .option("--seconds <n>", "that are profiled", "5")
  .option("--top <n>", "functions of each process", "25")
  .parse();
const flags = command.opts<Record<"topology" | "callers" | "seconds" | "top", string>>();
const [name = "get-product"] = command.processedArgs as string[];
const call = calls[name] ?? command.error(`no such call: ${name}`);

await using shop = await startShop({ topology: flags.topology as Topology, isInspected: true });
const spec = await call(shop, await addCatalogue(shop, SKUS));
const inspectors = new Map<string, Inspector>();
for (const { name: process, server } of shop.processes) inspectors.set(process, await openInspector(server.output()));

const profiles = new Map<string, CpuProfile>();
const before = new Map<string, number>();
const taken = new Map<string, number>();
const arrivals = { kind: "closed", callers: Number(flags.callers) } as const;
const window = { warmupMs: 4_000, ms: Number(flags.seconds) * 1_000 };
const tally = await runLoad(spec, arrivals, window, () => ({
  begin: async () => {
    for (const { name: process, server } of shop.processes) before.set(process, cpuMs(server.pid));
    await Promise.all([...inspectors.values()].map((inspector) => inspector.start()));
  },
  end: async () => {
    for (const { name: process, server } of shop.processes) {
      taken.set(process, cpuMs(server.pid) - (before.get(process) ?? 0));
    }
    for (const [process, inspector] of inspectors) profiles.set(process, await inspector.stop());
  },
}));
for (const inspector of inspectors.values()) inspector.close();

console.log(`${name}: ${short((tally.done * 1_000) / tally.ms)}/s under the profiler, p50 ${short(tally.p50)} ms`);
await mkdir(RESULTS, { recursive: true });
for (const [process, profile] of profiles) {
  await writeFile(join(RESULTS, `${name}-${process}.cpuprofile`), JSON.stringify(profile));
  print(process, profile);
}

/** The CPU of the process is what the kernel says; the profile says how it is divided. */
function print(process: string, profile: CpuProfile): void {
  const { busyMs, packages, charged, functions } = summarise(profile);
  const perCall = ((taken.get(process) ?? 0) * 1_000) / Math.max(1, tally.done);
  if (perCall < 5) return;
  const share = (ms: number) => [`${((ms / busyMs) * 100).toFixed(1)} %`, short((perCall * ms) / busyMs)];
  console.log(`\n${process}: ${short(perCall)} µs of CPU per call, all threads\n`);
  const names = largest(packages, 14).map(([of]) => of);
  const rows = [...new Set([...names, ...largest(charged, 14).map(([of]) => of)])];
  console.log(
    table(
      ["package", "self", "µs", "with Node's for it", "µs"],
      rows.map((of) => [of, ...share(packages.get(of) ?? 0), ...share(charged.get(of) ?? 0)]),
    ),
  );
  const top = largest(functions, Number(flags.top)).map(([of, ms]) => [of, ...share(ms)]);
  console.log(`\n${table(["function", "self", "µs"], top)}`);
}
