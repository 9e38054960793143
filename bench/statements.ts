import { Command } from "commander";
import { databaseName } from "../src/platform/database-name.ts";
import { createOrder, getProduct, queryProducts } from "./support/calls.ts";
import { addCatalogue } from "./support/catalogue.ts";
import { runLoad } from "./support/load.ts";
import { withBacklog } from "./support/measure.ts";
import { table } from "./support/report.ts";
import type { Shop } from "./support/shop.ts";
import { startShop } from "./support/shop.ts";

/** `npm run bench:statements`: how many SQL statements each role runs per call, counted and not timed. */
const SKUS = 1_000;
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

const specs = {
  "CreateOrder, and what follows": await createOrder(shop, skus, 3, false),
  "a settled checkout": await createOrder(shop, skus, 1, true),
  GetProduct: await getProduct(shop),
  QueryProducts: queryProducts(shop),
};
const roles = ["gateway", "user", "product", "order", "payment", "inventory", "notification", "sandbox", "events"];
const rows: string[][] = [];
for (const [name, spec] of Object.entries(specs)) {
  const { calls, counts } = await countStatements(shop, () =>
    runLoad(spec, { kind: "closed", callers: Number(flags.callers) }, window(), () => idle),
  );
  const of = (role: string) => counts.filter(({ database }) => database === databaseName(role));
  const total = (role: string) => of(role).reduce((sum, count) => sum + Number(count.calls), 0) / calls;
  rows.push([name, String(calls), ...roles.map((role) => total(role).toFixed(2))]);
  if (!flags.texts) continue;
  const texts = counts
    .filter((count) => Number(count.calls) / calls >= 0.05)
    .map((count) => [
      count.query.replaceAll(/\s+/g, " ").slice(0, 110),
      count.database,
      (Number(count.calls) / calls).toFixed(2),
      (count.ms / calls).toFixed(3),
    ]);
  console.log(`\n${name}\n${table(["statement", "database", "per call", "ms of it"], texts)}`);
}
console.log(`\n${table(["statements per call", "calls", ...roles], rows)}`);

function window() {
  return { warmupMs: 0, ms: Number(flags.seconds) * 1_000 };
}

interface Count {
  readonly database: string;
  readonly query: string;
  readonly calls: string;
  readonly ms: number;
}

/** What ran while calls were made and until no order was left, by how often. */
async function countStatements(
  of: Shop,
  run: () => Promise<{ readonly acknowledged: number }>,
): Promise<{ calls: number; counts: Count[] }> {
  await of.query("postgres", "select pg_stat_statements_reset()");
  const { acknowledged: calls = 0 } = await withBacklog(of, async () => {
    const { acknowledged } = await run();
    return { value: 0, acknowledged };
  });
  const counts = await of.query<Count>(
    "postgres",
    `select d.datname as database, s.query, sum(s.calls) as calls, sum(s.total_exec_time) as ms
     from pg_stat_statements s join pg_database d on d.oid = s.dbid
     where s.query not like '%from orders where state = $%' group by 1, 2 order by 3 desc`,
  );
  return { calls, counts };
}
