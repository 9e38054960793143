import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { registry } from "../../src/roles/registry.ts";
import type { Bench } from "../support/bench.ts";
import type { Plan, Round } from "../support/figures.ts";
import { rssMib } from "../support/machine.ts";
import { startServer } from "../support/processes.ts";
import type { Databases } from "../support/shop.ts";
import { addressesOf, startDatabases, startServers } from "../support/shop.ts";

export const starts: Bench = {
  about: "milliseconds from the spawn until the process says that it listens, on databases that are there",
  async open(_settings, stack) {
    const databases = stack.use(await startDatabases());
    const addresses = await addressesOf(Object.keys(registry));
    const plans = Object.keys(registry).map(
      (role): Plan => ({
        name: `role ${role}`,
        unit: "ms",
        run: () => startOne(databases, role, { ...databases.env, ...addresses, ROLE: role }),
      }),
    );
    const all: Plan = {
      name: "all roles in one process",
      unit: "ms",
      run: () => startOne(databases, "all", { ...databases.env, PORT: "0" }),
    };
    return [...plans, all, { name: "all roles, a process each, at once", unit: "ms", run: () => startEach(databases) }];
  },
};

/** The modules are counted in a start of their own: that slows it down. */
async function startOne(databases: Databases, name: string, env: Readonly<Record<string, string>>): Promise<Round> {
  const server = await startServer(env, databases.folder, name);
  const rss = { [name]: rssMib(server.pid) };
  await server[Symbol.asyncDispose]();
  return { value: server.startMs, rss, notes: await modulesOf(databases, name, env) };
}

async function startEach({ env, folder }: Databases): Promise<Round> {
  const startedAt = performance.now();
  const servers = await startServers("apart", env, folder);
  const value = performance.now() - startedAt;
  const rss = Object.fromEntries(Object.entries(servers).map(([role, { pid }]) => [role, rssMib(pid)]));
  await Promise.all(Object.values(servers).map((server) => server[Symbol.asyncDispose]()));
  return { value, rss };
}

const counted = new Map<string, Record<string, number>>();

/** How many modules a start loads, by whose they are, and those of the packages with the most. */
async function modulesOf(
  { folder }: Databases,
  name: string,
  env: Readonly<Record<string, string>>,
): Promise<Record<string, number>> {
  const known = counted.get(name);
  if (known) return known;
  // Node writes which scripts it has loaded when it ends, as a part of its coverage.
  const coverage = await mkdtemp(join(tmpdir(), "connect-commerce-bench-"));
  try {
    const server = await startServer({ ...env, NODE_V8_COVERAGE: coverage }, folder, `${name}-modules`);
    await server[Symbol.asyncDispose]();
    const modules = new Set<string>();
    for (const file of await readdir(coverage)) {
      const { result } = JSON.parse(await readFile(join(coverage, file), "utf8")) as { result: { url: string }[] };
      for (const { url } of result) if (url.startsWith("file:")) modules.add(url);
    }
    const packages: Record<string, number> = {};
    for (const url of modules) {
      const of = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? "own";
      packages[of] = (packages[of] ?? 0) + 1;
    }
    const most = Object.entries(packages).sort(([, a], [, b]) => b - a);
    const counts = { modules: modules.size, ...Object.fromEntries(most.slice(0, 8)) };
    counted.set(name, counts);
    return counts;
  } finally {
    await rm(coverage, { recursive: true, force: true });
  }
}
