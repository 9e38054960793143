import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, constants } from "node:http2";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { enveloped, openSender, wires } from "../support/wire.ts";
import type { Raw, RawOptions } from "./raw.ts";
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  PING,
  RST_STREAM,
  SETTINGS,
  field,
  fields,
  frame,
  openRaw,
  opening,
} from "./raw.ts";
import type { Seen } from "./witness.ts";

/** What must be closed within 15 s, on a machine that is busy. */
const CLOSED_WITHIN_MS = 20_000;
/** Calls of the witness that are looked at before an attack, and from when it begins: fewer make a p99 of one or two. */
const SEEN = 300;
/** What an attack may cost the gateway in memory: an inflated bomb alone is 200. */
const MOST_GROWTH_MIB = 64;

interface Row {
  readonly attack: string;
  readonly end: string;
  readonly rss: readonly [before: number, peak: number];
  readonly p99: readonly [before: number, during: number];
}

/** What every window before an attack saw: they are all alike, and p99 of a few hundred calls differs by a factor of two. */
const quiet: number[] = [];

function p99Of(tookMs: readonly number[]): number {
  return tookMs.toSorted((a, b) => a - b)[Math.ceil(tookMs.length * 0.99) - 1] ?? 0;
}

let shop: Installation;
let witness: ChildProcess;
let productId = "";
let orderId = "";
/** The attacker is logged in: refused at the door it would show nothing. */
let authorization = "";
const rows: Row[] = [];
const opened: Raw[] = [];

function open(options?: RawOptions): Raw {
  const raw = openRaw(shop.url, options);
  opened.push(raw);
  return raw;
}

async function openMany(count: number, options?: RawOptions): Promise<Raw[]> {
  const raws = Array.from({ length: count }, () => open(options));
  await Promise.all(raws.map(({ socket }) => once(socket, "connect")));
  return raws;
}

async function ask(wish: "begin" | "look"): Promise<Seen> {
  const answer = once(witness, "message");
  witness.send(wish);
  const [seen] = (await answer) as [Seen];
  return seen;
}

/** What the witness has seen once it made so many calls more. */
async function watch(more: number): Promise<Seen> {
  const wanted = (await ask("look")).calls + more;
  let seen = await ask("look");
  await until(async () => {
    seen = await ask("look");
    return seen.calls >= wanted;
  }, 30_000);
  return seen;
}

/**
 * Runs an attack beside the witness, notes the row, checks that nobody else noticed more than some delay, and answers by
 * how many MiB the gateway grew.
 */
async function withstand(attack: string, run: () => Promise<string>): Promise<number> {
  await ask("begin");
  const before = await watch(SEEN);
  await ask("begin");
  const startedAt = performance.now();
  const end = await run();
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  // Calls that were under way are still to be seen.
  const during = await watch(SEEN);
  const rss = [before.peakRssMiB, during.peakRssMiB] as const;
  quiet.push(...before.tookMs);
  rows.push({ attack, end: `${end}; ${seconds} s`, rss, p99: [p99Of(before.tookMs), p99Of(during.tookMs)] });
  expect([...before.failed, ...during.failed]).toEqual([]);
  expect((await fetch(`${shop.url}/readyz`)).status).toBe(200);
  return during.peakRssMiB - before.peakRssMiB;
}

/** When the last of them was closed. @throws Error where one is not in time */
async function closed(raws: readonly Raw[], withinMs = CLOSED_WITHIN_MS): Promise<string> {
  await until(() => raws.every((raw) => raw.closedAfter() !== undefined), withinMs);
  const last = Math.max(...raws.map((raw) => raw.closedAfter() ?? 0));
  return `${String(raws.length)} closed within ${(last / 1_000).toFixed(1)} s`;
}

/** Sends a byte a second, which is the attack itself, until the connection is closed. */
function drip(raw: Raw, byte: string): void {
  const timer = setInterval(() => raw.socket.write(byte), 1_000);
  raw.socket.once("close", () => clearInterval(timer));
}

/** How an HTTP/2 connection ended, or what it got. */
function told(raw: Raw): string {
  const goaway = raw.goaway();
  const parts = [`${String(raw.frames.get(HEADERS) ?? 0)} answered`];
  for (const [code, count] of raw.resets) parts.push(`${String(count)} reset with ${errorName(code)}`);
  if (goaway !== undefined) parts.push(`GOAWAY ${errorName(goaway)}`);
  return parts.join(", ");
}

function errorName(code: number): string {
  const found = Object.entries(constants).find(
    ([name, value]) =>
      value === code && /^NGHTTP2_(?!ERR_|FLAG_|DEFAULT_|SETTINGS_|HCAT_|NV_|STREAM_|SESSION_)/.test(name),
  );
  return found?.[0].replace("NGHTTP2_", "") ?? String(code);
}

function rpcFields(path: string, type: string): Buffer {
  return fields({
    ":method": "POST",
    ":scheme": "http",
    ":authority": "shop",
    ":path": path,
    "content-type": type,
    authorization,
    te: "trailers",
  });
}

const getProduct = "/commerce.product.v1.ProductService/GetProduct";
const watchOrder = "/commerce.order.v1.OrderService/WatchOrder";

/** A whole call, in HTTP/2 frames. */
function callFrames(stream: number, path: string, type: string, body: Uint8Array): Buffer {
  return Buffer.concat([
    frame(HEADERS, { stream, flags: END_HEADERS, payload: rpcFields(path, type) }),
    frame(DATA, { stream, flags: END_STREAM, payload: body }),
  ]);
}

beforeAll(async () => {
  // As in production: an installation of a test counts nobody's calls.
  shop = await startInstallation("a process per role", { RATE_LIMITS: "all" });
  authorization = `Bearer ${await tokenOf(shop.url)}`;
  const { users, products, orders, inventory } = clientsOf(protocols.gRPC(shop.url));
  const { user } = await users.createUser({ email: "ada@example.com" });
  const { product } = await products.addProduct({
    title: "Mug",
    variants: [{ sku: "MUG", price: { currencyCode: "EUR", amountMinor: 1n } }],
  });
  productId = product?.id ?? "";
  await inventory.adjustStock({ sku: "MUG", delta: 10n });
  // It waits for its buyer: a watch of it has no end.
  const { order } = await orders.createOrder({
    userId: user?.id ?? "",
    items: [{ sku: "MUG", quantity: 1 }],
    paymentMethodToken: "tok_requires_action",
  });
  orderId = order?.id ?? "";
  const pid = String(shop.processes["gateway"]?.pid);
  const other = { email: "witness@example.com", password: "the witness's own password" };
  await createAccount(shop.url, other, shop.databases["user"]?.url ?? "", ["admin"]);
  const token = await tokenOf(shop.url, other);
  witness = fork(fileURLToPath(new URL("witness.ts", import.meta.url)), [shop.url, productId, pid, token]);
  // The code is warm and the heap has grown to what a busy gateway needs.
  for (let round = 0; round < 100; round += 1) {
    await Promise.all(Array.from({ length: 50 }, () => products.getProduct({ id: productId })));
  }
  // So are the ways that refuse: one bomb of each kind.
  for (const wire of bombed) {
    const sender = openSender(wire, shop.url);
    for (const method of bombedMethods) await sender.send(method, { binary: bomb, json: bomb }, true);
    sender.close();
  }
  await until(async () => (await ask("look")).calls >= 500, 30_000);
});

afterAll(async () => {
  console.info(table(rows));
  for (const { socket } of opened) socket.destroy();
  witness.kill();
  await shop[Symbol.asyncDispose]();
});

function table(all: readonly Row[]): string {
  const usual = p99Of(quiet);
  const cells = [
    ["attack", "how it ended", "RSS MiB", "other client's p99 ms", "to quiet"],
    ...all.map(({ attack, end, rss, p99 }) => [
      attack,
      end,
      rss.map((mib) => mib.toFixed(0)).join(" -> "),
      p99.map((ms) => ms.toFixed(1)).join(" -> "),
      (p99[1] / usual).toFixed(1),
    ]),
  ];
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const lines = cells.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | "));
  return [...lines, `quiet: p99 of all ${String(quiet.length)} calls before attacks ${usual.toFixed(1)} ms`].join("\n");
}

/** REST reads these methods by their address; its bodies are bombed in tests/journeys/rest.test.ts. */
const bombed = wires.filter((wire) => wire !== "REST");
const bombedMethods = [ProductService.method.getProduct, OrderService.method.createOrders];
const bomb = gzipSync(Buffer.alloc(200 * 1_024 * 1_024, " "), { level: 9 });

describe("bombs", () => {
  test.each(bombedMethods)("gzip, $name", async (method) => {
    expect(
      await withstand(`20 gzip bombs of ${String(bomb.length >> 10)} kB, ${method.name}`, async () => {
        const senders = Array.from({ length: 20 }, (_, n) => openSender(bombed[n % bombed.length] ?? "gRPC", shop.url));
        const startedAt = performance.now();
        const answers = await Promise.all(
          senders.map((sender) => sender.send(method, { binary: bomb, json: bomb }, true)),
        );
        const ms = performance.now() - startedAt;
        for (const sender of senders) sender.close();
        expect(new Set(answers.flatMap(({ reasons }) => reasons))).toEqual(new Set(["MESSAGE_TOO_LARGE"]));
        expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(["resource_exhausted"]));
        return `20 RESOURCE_EXHAUSTED within ${ms.toFixed(0)} ms`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test.each([getProduct, "/commerce.order.v1.OrderService/CreateOrders"])("4 GiB prefix, %s", async (path) => {
    expect(
      await withstand(`50 prefixes of 4 GiB, then nothing, ${path.replace(/.*\//, "")}`, async () => {
        const raws = await openMany(50);
        const prefix = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
        const startedAt = performance.now();
        for (const raw of raws) {
          const headers = frame(HEADERS, {
            stream: 1,
            flags: END_HEADERS,
            payload: rpcFields(path, "application/grpc+proto"),
          });
          await raw.write(Buffer.concat([opening, headers, frame(DATA, { stream: 1, payload: prefix })]));
        }
        await until(() => raws.every((raw) => (raw.frames.get(HEADERS) ?? 0) > 0), CLOSED_WITHIN_MS);
        const ms = performance.now() - startedAt;
        for (const { socket } of raws) socket.destroy();
        return `50 answered within ${ms.toFixed(0)} ms`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });
});

/** What the limits only end later: still watched when all else is done. */
const held = new Map<string, { readonly raws: readonly Raw[]; readonly until: number }>();

/** Measured while they are open, for as long as the witness makes 300 calls; they go on behind the attacks after it. */
async function hold(raws: readonly Raw[], attack: string, withinMs: number): Promise<string> {
  held.set(attack, { raws, until: performance.now() + withinMs });
  await watch(300);
  const open = raws.filter((raw) => raw.closedAfter() === undefined).length;
  return `${String(open)} of ${String(raws.length)} still open`;
}

describe("slow and silent", () => {
  test("slow headers over HTTP/2", async () => {
    const attack = "50 slow headers, HTTP/2";
    expect(
      await withstand(attack, async () => {
        const raws = await openMany(50);
        for (const raw of raws) {
          await raw.write(Buffer.concat([opening, frame(HEADERS, { stream: 1, length: 16_000 })]));
          drip(raw, "\0");
        }
        return hold(raws, attack, CLOSED_WITHIN_MS);
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test("a slow preface of HTTP/2", async () => {
    const attack = "50 slow prefaces, HTTP/2";
    expect(
      await withstand(attack, async () => {
        const raws = await openMany(50);
        for (const raw of raws) {
          await raw.write("PRI * HTTP/2.0\r\n\r\nSM\r\n");
          await raw.write(Buffer.concat([Buffer.from("\r\n"), frame(SETTINGS, { length: 6 * 30 })]));
          drip(raw, "\0");
        }
        return hold(raws, attack, CLOSED_WITHIN_MS);
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test("slow bodies over HTTP/1.1", async () => {
    const attack = "50 slow bodies, HTTP/1.1";
    expect(
      await withstand(attack, async () => {
        const raws = await openMany(50);
        for (const raw of raws) {
          await raw.write(
            `POST ${getProduct} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n`,
          );
          drip(raw, " ");
        }
        return hold(raws, attack, CLOSED_WITHIN_MS);
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test.each([getProduct, "/commerce.order.v1.OrderService/CreateOrders"])(
    "slow bodies over HTTP/2, %s",
    async (path) => {
      const attack = `50 slow bodies, HTTP/2, ${path.replace(/.*\//, "")}`;
      expect(
        await withstand(attack, async () => {
          const raws = await openMany(50);
          for (const raw of raws) {
            const payload = rpcFields(path, "application/grpc+proto");
            await raw.write(Buffer.concat([opening, frame(HEADERS, { stream: 1, flags: END_HEADERS, payload })]));
            await raw.write(frame(DATA, { stream: 1, payload: Buffer.from([0, 0, 0, 0xff, 0]) }));
            const timer = setInterval(() => raw.socket.write(frame(DATA, { stream: 1, payload: Buffer.of(0) })), 1_000);
            raw.socket.once("close", () => clearInterval(timer));
          }
          return hold(raws, attack, CLOSED_WITHIN_MS);
        }),
      ).toBeLessThan(MOST_GROWTH_MIB);
    },
  );

  test("slow headers over HTTP/1.1", async () => {
    expect(
      await withstand("50 slow headers, HTTP/1.1", async () => {
        const raws = await openMany(50);
        for (const raw of raws) {
          await raw.write(`POST ${getProduct} HTTP/1.1\r\nhost: shop\r\nx-slow: `);
          drip(raw, "x");
        }
        const end = await closed(raws);
        expect(new Set(raws.map((raw) => raw.text().split("\r\n")[0]))).toEqual(
          new Set(["HTTP/1.1 408 Request Timeout"]),
        );
        return `408, ${end}`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test("silent sockets", async () => {
    expect(await withstand("500 silent sockets", async () => closed(await openMany(500)))).toBeLessThan(
      MOST_GROWTH_MIB,
    );
  });
});

test("idle sessions", async () => {
  expect(
    await withstand("1,000 idle sessions of HTTP/2", async () => {
      const raws = await openMany(1_000);
      for (const raw of raws) await raw.write(opening);
      await until(() => raws.every((raw) => raw.frames.has(SETTINGS)));
      await watch(300);
      const open = raws.filter((raw) => raw.closedAfter() === undefined).length;
      for (const { socket } of raws) socket.destroy();
      return `${String(open)} open, as they may be`;
    }),
  ).toBeLessThan(MOST_GROWTH_MIB);
});

describe("floods over HTTP/2", () => {
  test("rapid reset", async () => {
    expect(
      await withstand("rapid reset, 4 times 5,000 streams", async () => {
        const body = enveloped(Buffer.alloc(0));
        const ends = new Set<string>();
        for (let n = 0; n < 4; n += 1) {
          const [raw] = (await openMany(1)) as [Raw];
          let isOpen = await raw.write(opening);
          for (let stream = 1; isOpen && stream < 10_000; stream += 2) {
            const reset = frame(RST_STREAM, { stream, payload: Buffer.from([0, 0, 0, 8]) });
            const call = callFrames(stream, getProduct, "application/grpc+proto", body);
            isOpen = await raw.write(Buffer.concat([call, reset]));
          }
          await closed([raw]);
          const goaway = raw.goaway();
          ends.add(goaway === undefined ? "TCP reset" : `GOAWAY ${errorName(goaway)}`);
        }
        return `each of 4 connections closed: ${[...ends].join(", ")}`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test.each([true, false])("1,500 watches on one connection, settings acknowledged: %s", async (acknowledges) => {
    expect(
      await withstand(`1,500 watches, settings ${acknowledges ? "" : "not "}acknowledged`, async () => {
        const [raw] = (await openMany(1, { acknowledges })) as [Raw];
        const body = enveloped(Buffer.from(JSON.stringify({ id: orderId })));
        await raw.write(opening);
        await until(() => (raw.frames.get(SETTINGS) ?? 0) > 1);
        for (let n = 0; n < 1_500; n += 1) {
          if (!(await raw.write(callFrames(n * 2 + 1, watchOrder, "application/connect+json", body)))) break;
        }
        await until(() => {
          const refused = [...raw.resets.values()].reduce((sum, count) => sum + count, 0);
          return raw.closedAfter() !== undefined || (raw.frames.get(HEADERS) ?? 0) + refused >= 1_500;
        }, CLOSED_WITHIN_MS);
        expect(raw.frames.get(HEADERS) ?? 0).toBeLessThanOrEqual(100);
        const isClosed = raw.closedAfter() !== undefined;
        raw.socket.destroy();
        return `${told(raw)}, ${isClosed ? "closed" : "still open"}`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test("1,500 watches of a client that keeps to the settings", async () => {
    expect(
      await withstand("1,500 watches, well-behaved", async () => {
        const session = connect(shop.url);
        let answered = 0;
        let refused = 0;
        const errors: string[] = [];
        for (let n = 0; n < 1_500; n += 1) {
          const stream = session.request({
            [constants.HTTP2_HEADER_METHOD]: "POST",
            [constants.HTTP2_HEADER_PATH]: watchOrder,
            "content-type": "application/connect+json",
            authorization,
          });
          stream.on("error", (error) => errors.push(error.message));
          stream.once("data", (chunk: Buffer) => {
            if (chunk.includes("RATE_LIMITED")) refused += 1;
            else answered += 1;
          });
          stream.end(enveloped(Buffer.from(JSON.stringify({ id: orderId }))));
        }
        await until(() => answered + refused >= 1_500, CLOSED_WITHIN_MS).catch(() => undefined);
        session.destroy();
        expect({ answered, refused, errors }).toEqual({ answered: 20, refused: 1_480, errors: [] });
        return "20 answered, 1,480 RATE_LIMITED";
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test.each([
    ["PINGs, answers read", true, frame(PING, { payload: Buffer.alloc(8) })],
    ["PINGs, answers not read", false, frame(PING, { payload: Buffer.alloc(8) })],
    ["SETTINGS, answers read", true, frame(SETTINGS, { payload: Buffer.from([0, 4, 0, 0, 0xff, 0xff]) })],
    ["SETTINGS, answers not read", false, frame(SETTINGS, { payload: Buffer.from([0, 4, 0, 0, 0xff, 0xff]) })],
    ["SETTINGS acknowledged unasked", true, frame(SETTINGS, { flags: ACK })],
    ["empty DATA frames of a stream never opened", true, frame(DATA, { stream: 1 })],
  ])("%s", async (name, reads, bytes) => {
    expect(
      await withstand(`1,000,000 ${name}`, async () => {
        const [raw] = (await openMany(1, { reads })) as [Raw];
        const chunk = Buffer.concat(Array.from({ length: 5_000 }, () => bytes));
        await raw.write(opening);
        let sent = 0;
        while (sent < 1_000_000 && (await raw.write(chunk))) sent += 5_000;
        const end = raw.socket.destroyed ? `closed after about ${String(sent)}` : `all ${String(sent)} taken`;
        raw.socket.destroy();
        return `${end}, ${told(raw)}`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });
});

describe("huge headers", () => {
  test("over HTTP/1.1", async () => {
    expect(
      await withstand("50 headers of 1 MB, HTTP/1.1", async () => {
        const raws = await openMany(50);
        const head = `POST ${getProduct} HTTP/1.1\r\nhost: shop\r\nx-huge: ${"x".repeat(1_000_000)}`;
        await Promise.all(raws.map((raw) => raw.write(head)));
        return `431, ${await closed(raws)}`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test("over HTTP/2, an endless block", async () => {
    expect(
      await withstand("20 blocks of 1,000 CONTINUATIONs", async () => {
        const raws = await openMany(20);
        const payload = field(0, "x-huge", "x".repeat(8_000));
        await Promise.all(
          raws.map(async (raw) => {
            await raw.write(Buffer.concat([opening, frame(HEADERS, { stream: 1, payload })]));
            const more = frame(CONTINUATION, { stream: 1, payload });
            for (let n = 0; n < 1_000 && (await raw.write(more)); n += 1);
          }),
        );
        return `${await closed(raws)}, ${told(raws[0] as Raw)}`;
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });

  test("over HTTP/2, a compression bomb", async () => {
    expect(
      await withstand("1,000 HPACK bombs of 40 MB", async () => {
        const [raw] = (await openMany(1)) as [Raw];
        await raw.write(opening);
        // One entry of 4,000 bytes in the table, then 11,000 references to it of one byte each.
        const entry = field(0x40, "x-bomb", "x".repeat(3_950));
        const bomb = Buffer.alloc(11_000, 0x80 | 62);
        let sent = 0;
        for (let stream = 1; sent < 1_000; stream += 2, sent += 1) {
          const known = rpcFields(getProduct, "application/json");
          const payload = Buffer.concat([known, ...(sent === 0 ? [entry] : []), bomb]);
          const flags = END_HEADERS | END_STREAM;
          if (!(await raw.write(frame(HEADERS, { stream, flags, payload })))) break;
        }
        await until(() => {
          const refused = [...raw.resets.values()].reduce((sum, count) => sum + count, 0);
          return raw.closedAfter() !== undefined || (raw.frames.get(HEADERS) ?? 0) + refused >= sent;
        }, CLOSED_WITHIN_MS);
        raw.socket.destroy();
        return told(raw);
      }),
    ).toBeLessThan(MOST_GROWTH_MIB);
  });
});

describe("at last", () => {
  test("what was slow is closed too", async () => {
    for (const [attack, { raws, until: deadline }] of held) {
      const isOver = (raw: Raw) => raw.closedAfter() !== undefined || raw.resets.size > 0 || raw.frames.has(HEADERS);
      await until(() => raws.every(isOver), deadline - performance.now()).catch(() => undefined);
      const over = raws.filter(isOver).length;
      const closedAfter = raws.map((raw) => raw.closedAfter()).filter((ms) => ms !== undefined);
      const last = closedAfter.length > 0 ? ` the last after ${(Math.max(...closedAfter) / 1_000).toFixed(1)} s` : "";
      const row = rows.findIndex((found) => found.attack === attack);
      const found = rows[row];
      const end = `${String(over)} ended, ${String(closedAfter.length)} closed${last}; ${told(raws[0] as Raw)}`;
      if (found) rows[row] = { ...found, end };
      expect.soft(over, attack).toBe(raws.length);
    }
  });

  test("no role met an unexpected error", () => {
    for (const [role, { log }] of Object.entries(shop.processes)) {
      const found = log.filter(({ level }) => level === "error");
      const kinds = new Set(found.map(({ msg, method, reason, err }) => JSON.stringify({ msg, method, reason, err })));
      expect.soft([...kinds], `${role}, ${String(found.length)} lines`).toEqual([]);
    }
  });
});
