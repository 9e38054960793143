import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { databaseName } from "../src/platform/database-name.ts";
import type { JobSpec } from "./load/jobs.ts";
import { createOrder, getProduct, queryProducts } from "./support/calls.ts";
import { addCatalogue } from "./support/catalogue.ts";
import { runLoad } from "./support/load.ts";
import { withBacklog } from "./support/measure.ts";
import { table } from "./support/report.ts";
import { startShop } from "./support/shop.ts";

/** `npm run bench:statements`: how many SQL statements each role runs per call, counted and not timed. */
const SKUS = 1_000;
/** Milliseconds in which nobody calls. */
const IDLE_MS = 5_000;
/** Milliseconds for mails and events that follow the last order. */
const SETTLE_MS = 2_000;
const idle = { begin: () => undefined, end: () => undefined };

const command = new Command("statements")
  .option("--seconds <n>", "that each call is made", "5")
  .option("--callers <n>", "that call at once: statements that serve many count as parts", "1")
  .option("--texts", "the statements too")
  .parse();
const flags = command.opts<{ seconds: string; callers: string; texts?: boolean }>();

await using shop = await startShop({ topology: "apart", countsStatements: true });
const skus = await addCatalogue(shop, SKUS);
await shop.query("postgres", "create extension pg_stat_statements");
await shop.query("postgres", "alter system set pg_stat_statements.track_planning = on");
await shop.query("postgres", "select pg_reload_conf()");

const specs = {
  "CreateOrder, and what follows": await createOrder(shop, skus, 3, false),
  "a settled checkout": await createOrder(shop, skus, 1, true),
  GetProduct: await getProduct(shop),
  QueryProducts: queryProducts(shop),
};
const roles = ["gateway", "user", "product", "order", "payment", "inventory", "notification", "sandbox", "events"];
const rows: string[][] = [];
const idlePerMs = await countIdle();
for (const [name, spec] of Object.entries(specs)) {
  const { calls, ms, counts } = await countStatements(spec);
  const of = (count: Count) => Math.max(0, Number(count.calls) - ms * (idlePerMs.get(keyOf(count)) ?? 0)) / calls;
  const total = (role: string) =>
    counts.filter(({ database }) => database === databaseName(role)).reduce((sum, count) => sum + of(count), 0);
  const each = roles.map(total);
  const sum = (part: (count: Count) => number) => counts.reduce((all, count) => all + part(count), 0) / calls;
  console.log(
    `${name}: ${sum(({ planMs }) => planMs).toFixed(1)} ms to plan, ${sum(({ ms: run }) => run).toFixed(1)} ms to run`,
  );
  rows.push([name, String(calls), ...[...each, each.reduce((sum, one) => sum + one, 0)].map((one) => one.toFixed(1))]);
  if (!flags.texts) continue;
  const texts = counts
    .filter((count) => of(count) >= 0.05)
    .map((count) => [
      count.query.replaceAll(/\s+/g, " ").slice(0, 110),
      count.database,
      of(count).toFixed(2),
      ((count.planMs * 1_000) / calls).toFixed(0),
      ((count.ms * 1_000) / calls).toFixed(0),
    ]);
  console.log(`\n${name}\n${table(["statement", "database", "per call", "µs to plan", "µs to run"], texts)}`);
}
console.log(`\n${table(["statements per call", "calls", ...roles, "all"], rows)}`);

interface Count {
  readonly database: string;
  readonly query: string;
  readonly calls: string;
  readonly ms: number;
  readonly planMs: number;
}

function keyOf({ database, query }: Count): string {
  return `${database} ${query}`;
}

/** What runs by itself, in a millisecond: it is taken off. */
async function countIdle(): Promise<Map<string, number>> {
  await shop.query("postgres", "select pg_stat_statements_reset()");
  await delay(IDLE_MS);
  return new Map((await readCounts()).map((count) => [keyOf(count), Number(count.calls) / IDLE_MS]));
}

/** What ran while calls were made and until no order was left and no event was on its way. */
async function countStatements(spec: JobSpec): Promise<{ calls: number; ms: number; counts: Count[] }> {
  await shop.query("postgres", "select pg_stat_statements_reset()");
  const startedAt = performance.now();
  const arrivals = { kind: "closed", callers: Number(flags.callers) } as const;
  const window = { warmupMs: 0, ms: Number(flags.seconds) * 1_000 };
  const { acknowledged: calls = 0 } = await withBacklog(shop, async () => {
    const { acknowledged } = await runLoad(spec, arrivals, window, () => idle);
    return { value: 0, acknowledged };
  });
  await delay(SETTLE_MS);
  return { calls, ms: performance.now() - startedAt, counts: await readCounts() };
}

function readCounts(): Promise<Count[]> {
  return shop.query<Count>(
    "postgres",
    `select d.datname as database, s.query, sum(s.calls) as calls, sum(s.total_exec_time) as ms,
       sum(s.total_plan_time) as "planMs"
     from pg_stat_statements s join pg_database d on d.oid = s.dbid
     where s.query not like '%from orders where state = $%' group by 1, 2 order by 3 desc`,
  );
}
