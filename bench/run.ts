import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { getProducts } from "./benches/get-product.ts";
import { hotSku } from "./benches/hot-sku.ts";
import { identity } from "./benches/identity.ts";
import { listedProducts } from "./benches/list-products.ts";
import { streamedOrders } from "./benches/orders-stream.ts";
import { queriedProducts } from "./benches/query-products.ts";
import { recorded } from "./benches/recorded.ts";
import { settled } from "./benches/settled.ts";
import { starts } from "./benches/start.ts";
import type { Bench, Settings } from "./support/bench.ts";
import { faultsOf, interleave, ratiosOf } from "./support/figures.ts";
import { describeMachine } from "./support/machine.ts";
import { plotOf } from "./support/plot.ts";
import { reportOf, roundLine } from "./support/report.ts";
import type { Topology } from "./support/shop.ts";

/** `npm run bench -- [name …]`: how fast it is, and how near to what the machine can do; see bench/README.md. */
const benches: Readonly<Record<string, Bench>> = {
  recorded,
  settled,
  "get-product": getProducts,
  "query-products": queriedProducts,
  "list-products": listedProducts,
  "orders-stream": streamedOrders,
  "hot-sku": hotSku,
  start: starts,
  identity,
};

const RESULTS = join(import.meta.dirname, "results");

interface Flags {
  readonly topology: string;
  readonly rounds: string;
  readonly seconds: string;
  readonly warmup: string;
  readonly products: string;
  readonly lines?: string;
  readonly rate?: string;
  readonly quick?: boolean;
}

const command = new Command("bench")
  .argument("[name...]", `which: ${Object.keys(benches).join(", ")}; all where none is named`)
  .option("--topology <which>", "apart (a process per role) or one (all in one)", "apart")
  .option("--rounds <n>", "rounds of each series", "5")
  .option("--seconds <n>", "seconds of each round that count", "5")
  .option("--warmup <n>", "seconds before them", "1")
  .option("--products <n>", "of list-products", "100000")
  .option("--lines <n>", "of each order; else what the bench says")
  .option("--rate <n>", "calls a second of the open loop; else half of what the closed one reached")
  .option("--quick", "one short round of each, to see that it runs; the figures mean nothing")
  .parse();

const flags = command.opts<Flags>();
const names = command.args.length > 0 ? command.args : Object.keys(benches);
const unknown = names.filter((name) => !Object.hasOwn(benches, name));
if (unknown.length > 0) command.error(`no such bench: ${unknown.join(", ")}`);
if (flags.topology !== "apart" && flags.topology !== "one") command.error("--topology is apart or one");

const isQuick = flags.quick === true;
const settings: Settings = {
  topology: flags.topology as Topology,
  rounds: isQuick ? 1 : Number(flags.rounds),
  window: isQuick
    ? { warmupMs: 1_000, ms: 1_000 }
    : { warmupMs: Number(flags.warmup) * 1_000, ms: Number(flags.seconds) * 1_000 },
  products: isQuick ? 2_000 : Number(flags.products),
  lines: flags.lines === undefined ? undefined : Number(flags.lines),
  rate: flags.rate === undefined ? undefined : Number(flags.rate),
};

for (const name of names) await run(name, benches[name] as Bench);

async function run(name: string, bench: Bench): Promise<void> {
  const startedAt = new Date();
  const machine = describeMachine();
  console.log(`\n${name}: ${bench.about}`);
  const faults: string[] = [];
  await using stack = new AsyncDisposableStack();
  const plans = await bench.open(settings, stack);
  const series = await interleave(plans, settings.rounds, !isQuick, (plan, round) => {
    console.log(roundLine(plan, round));
    faults.push(...faultsOf(round).map((fault) => `${plan.name}: ${fault}`));
  });
  const ratios = ratiosOf(plans, series);
  console.log(`\n${reportOf(series, ratios)}`);
  await mkdir(RESULTS, { recursive: true });
  const file = join(RESULTS, `${name}-${startedAt.toISOString().replaceAll(/[:.]/g, "-")}`);
  const result = { bench: name, about: bench.about, startedAt, machine, settings, series, ratios, faults };
  await writeFile(`${file}.json`, `${JSON.stringify(result, undefined, 2)}\n`);
  await writeFile(`${file}.svg`, plotOf(name, `${bench.about}; ${settings.topology}, ${machine.cpu}`, series));
  console.log(`\n${file}.json, .svg`);
  for (const fault of faults) console.error(`FAULT ${fault}`);
  if (faults.length > 0) process.exitCode = 1;
}
