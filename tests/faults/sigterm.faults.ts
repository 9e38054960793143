import { once } from "node:events";
import type { ClientHttp2Session, IncomingHttpHeaders } from "node:http2";
import { connect as connectHttp2, constants } from "node:http2";
import type { Socket } from "node:net";
import { connect } from "node:net";
import { Client } from "pg";
import { afterAll, expect, test } from "vitest";
import { until } from "../support/conditions.ts";
import type { Installation, Topology } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { ServerProcess } from "../support/process.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { enveloped } from "../support/wire.ts";
import { acceptedAndFailed, neverBegun, unanswered } from "./accepted.ts";
import type { Failure, Load } from "./load.ts";
import { addGoods, startLoad } from "./load.ts";
import { nothingUnlike, unlike } from "./orders.ts";
import { printTable, rounds, spread, tally } from "./report.ts";

const startedAt = performance.now();
const columns = ["told to stop", "rounds", "calls", "accepted and failed", "refused", "exit ms", "back ms", "orders"];
const table: string[][] = [columns];

afterAll(() => {
  printTable("SIGTERM under load; milliseconds: least / median / most", startedAt, table);
});

/** What a signal costs. */
interface Measured {
  /** Milliseconds from the signal to the end. */
  readonly exits: number[];
  /** Milliseconds from the moment when it listens again until each kind of call has succeeded. */
  readonly back: number[];
}

const cases: readonly (readonly [role: string, topology: Topology, rounds: number])[] = [
  ["user", "a process per role", rounds],
  ["product", "a process per role", rounds],
  ["order", "a process per role", rounds],
  ["gateway", "a process per role", rounds],
  ["all", "one process", Math.ceil(rounds / 4)],
];

test.each(cases)("SIGTERM of %s, in %s, %i times", async (role, topology, times) => {
  const graceMs = 8_000;
  await using shop = await startInstallation(topology, { SHUTDOWN_GRACE_MS: String(graceMs) });
  const load = startLoad(shop.url, await addGoods(clientsOf(protocols.gRPC(shop.url))));
  const measured: Measured = { exits: [], back: [] };
  for (let round = 0; round < times; round += 1) await restart(role, shop, load, measured);
  await conclude(role, shop, load, measured);
  expect(Math.max(...measured.exits)).toBeLessThan(graceMs);
});

/** What the process needs for itself once its calls are over. */
const AFTERWARDS_MS = 1_000;

test.each(["gateway", "product"])("SIGTERM of %s while clients stall", async (role) => {
  const graceMs = 1_500;
  await using shop = await startInstallation("a process per role", { SHUTDOWN_GRACE_MS: String(graceMs) });
  const load = startLoad(shop.url, await addGoods(clientsOf(protocols.gRPC(shop.url))));
  await addManyGoods(shop);
  const measured: Measured = { exits: [], back: [] };
  for (let round = 0; round < Math.ceil(rounds / 4); round += 1) {
    await using stalled = await stall(shop, role);
    await restart(role, shop, load, measured, stalled.requestIds);
  }
  await conclude(`${role}, clients stall`, shop, load, measured);
  expect(Math.min(...measured.exits)).toBeGreaterThan(graceMs * 0.8);
  expect(Math.max(...measured.exits)).toBeLessThan(graceMs + AFTERWARDS_MS);
});

async function restart(
  role: string,
  shop: Installation,
  load: Load,
  { exits, back }: Measured,
  stalled: ReadonlySet<string> = new Set(),
): Promise<void> {
  await unlessOneEnds(shop, load.succeeds(1));
  // The watch is the slowest: without this the signal would always come when none is open.
  const placed = load.acknowledged.size;
  await unlessOneEnds(
    shop,
    until(() => load.watching() > 0 && load.acknowledged.size > placed + 10),
  );
  const stopped = processOf(shop, role);
  const isInner = role !== "gateway" && role !== "all";
  const callers = isInner ? ["gateway", "order"].flatMap((name) => shop.processes[name] ?? []) : [];
  const before = { failures: load.failures.length, lines: callers.map(({ log }) => log.length) };

  const toldAt = performance.now();
  stopped.kill("SIGTERM");
  expect(await stopped.exited).toBe(0);
  exits.push(performance.now() - toldAt);
  expect(stopped.log.filter(({ level }) => level === "error")).toEqual([]);
  await shop.start(role);
  const servesAt = performance.now();
  await unlessOneEnds(shop, load.succeeds(1));
  back.push(performance.now() - servesAt);

  const logOf = (name: string) => (role === "all" ? stopped : shop.processes[name])?.log ?? [];
  const found = () => acceptedAndFailed(stopped, role, logOf, load, stalled);
  // The last lines of the callers may be on their way.
  await until(() => found().length === 0, 2_000).catch(() => undefined);
  expect(found()).toEqual([]);
  const failures = load.failures.slice(before.failures);
  const lines = callers.flatMap(({ log }, index) => log.slice(before.lines[index]));
  expect(unanswered(failures, lines).filter((cause) => !neverBegun.test(cause))).toEqual([]);
  expect(failures.filter((failure) => !isInvited(failure) && (isInner || !isUnanswered(failure)))).toEqual([]);
}

/** Nothing is lost, nothing is there twice, over all rounds. */
async function conclude(name: string, shop: Installation, load: Load, { exits, back }: Measured): Promise<void> {
  await load.stop();
  expect(load.violations).toEqual([]);
  expect(load.replayed).toEqual([]);
  expect(await unlike(shop.databases["order"]?.url ?? "", load)).toEqual(nothingUnlike);
  const calls = [...load.done.values()].reduce((sum, count) => sum + count, 0);
  const refused = tally(load.failures.map((failure) => (isUnanswered(failure) ? failure.cause : said(failure))));
  const orders = String(load.acknowledged.size);
  table.push([name, String(exits.length), String(calls), "0", refused, spread(exits), spread(back), orders]);
}

function isUnanswered({ reasons }: Failure): boolean {
  return reasons.length === 0;
}

/** Told to try again, as it ought to be. */
function isInvited({ code, reasons, hasRetryInfo }: Failure): boolean {
  return code === "Unavailable" && reasons.length === 1 && hasRetryInfo;
}

function said({ code, reasons }: Failure): string {
  return `${code} ${reasons.join("+")}`;
}

function processOf(shop: Installation, role: string): ServerProcess {
  const found = shop.processes[role === "all" ? "gateway" : role];
  if (!found) throw new Error(`there is no process of ${role}`);
  return found;
}

/** The result of the work. @throws Error with the output of a process that ends meanwhile */
async function unlessOneEnds<T>(shop: Installation, work: Promise<T>): Promise<T> {
  const ends = Object.entries(shop.processes).map(async ([role, server]): Promise<never> => {
    const code = await server.exited;
    throw new Error(`${role} ended with ${String(code)}: ${server.output().slice(-2_000)}`);
  });
  for (const end of ends) end.catch(() => undefined);
  return Promise.race([work, ...ends]);
}

/** More than all buffers on the way hold. */
async function addManyGoods(shop: Installation): Promise<void> {
  const client = new Client({ connectionString: shop.databases["product"]?.url ?? "" });
  await client.connect();
  await client.query(
    `insert into products (id, title, description, state, tax_category, attributes, image_urls, currency_code,
       lowest_price_minor, title_key, search, version, created_at, updated_at)
     select uuidv7(), 'P' || n, repeat('word ', 400), 'active', 'standard', '{}', '{}', 'EUR', 1, 'p', '', 1, now(), now()
     from generate_series(1, 5000) n`,
  );
  await client.end();
}

interface Stalled extends AsyncDisposable {
  readonly requestIds: ReadonlySet<string>;
}

/** A reader of an export that stops reading at the gateway, and a connection to the role that never sends a byte. */
async function stall(shop: Installation, role: string): Promise<Stalled> {
  const silent = connect(processOf(shop, role).ports[role] ?? 0, "127.0.0.1").on("error", () => undefined);
  const session = connectHttp2(shop.url).on("error", () => undefined);
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: "/commerce.product.v1.ProductService/ListProducts",
    "content-type": "application/connect+json",
  });
  stream.on("error", () => undefined);
  stream.end(enveloped(Buffer.from("{}")));
  const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
  // Nobody reads the stream, so its window closes.
  await until(() => !silent.connecting);
  return {
    requestIds: new Set([String(headers["x-request-id"])]),
    [Symbol.asyncDispose]: () => leave(silent, session),
  };
}

async function leave(socket: Socket, session: ClientHttp2Session): Promise<void> {
  socket.destroy();
  session.destroy();
  await until(() => session.destroyed);
}
