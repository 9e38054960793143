import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { parseAnswer } from "./load/http-connection.ts";
import type { Job } from "./load/loops.ts";
import { Failure, runLoad } from "./load/loops.ts";
import type { Plan } from "./support/figures.ts";
import { faultsOf, interleave, medianOf, ratiosOf } from "./support/figures.ts";
import { plotOf } from "./support/plot.ts";
import { summarise } from "./support/profile-summary.ts";

const unmarked = { begin: () => undefined, end: () => undefined };
const job = (call: Job["call"]): Job => ({ call, close: () => undefined });

describe("a load", () => {
  test("in the open loop counts a stall for all who would have come meanwhile", async () => {
    let calls = 0;
    const stalls = job(async () => {
      calls += 1;
      // Everything stands still for a while, the timers of the loop too.
      if (calls === 50) for (const until = performance.now() + 200; performance.now() < until; );
      return Promise.resolve(1);
    });
    const tally = await runLoad(stalls, { kind: "open", perSecond: 200 }, { warmupMs: 0, ms: 600 }, unmarked);
    expect(tally.max).toBeGreaterThan(150);
    // 40 of 120 calls fell due in it; a closed loop would have one slow call.
    expect(tally.p99).toBeGreaterThan(100);
  });

  test("counts what was done in its window, what was acknowledged at all, and failures by their codes", async () => {
    let calls = 0;
    const some = job(async () => {
      calls += 1;
      await delay(1);
      if (calls === 2) throw new Failure("overloaded");
      return 3;
    });
    const tally = await runLoad(some, { kind: "closed", callers: 2 }, { warmupMs: 50, ms: 50 }, unmarked);
    expect(tally.failures).toEqual({ overloaded: 1 });
    expect(tally.acknowledged).toBe(3 * (calls - 1));
    expect(tally.done).toBeLessThan(tally.acknowledged);
    expect(tally.done).toBe(3 * tally.calls);
  });
});

test("an answer is known as soon as it is whole, with a length and in chunks", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  const answers = [
    `${head}Content-Length: 4\r\n\r\n{é}`,
    `${head}transfer-encoding: chunked\r\n\r\n2\r\n{\xc3\r\n2\r\n\xa9}\r\n0\r\n\r\n`,
  ].map((answer, index) => Buffer.from(answer, index === 0 ? "utf8" : "latin1"));
  for (const bytes of answers) {
    expect(parseAnswer(bytes)).toEqual({ status: 200, body: "{é}" });
    for (let length = 0; length < bytes.length; length += 1) {
      expect(parseAnswer(bytes.subarray(0, length)), `of ${String(length)} bytes`).toBeUndefined();
    }
  }
});

describe("figures", () => {
  test("rounds are interleaved, and the ratio is that of the medians with the spread of neighbours", async () => {
    const ran: string[] = [];
    const plan = (name: string, values: number[], against: string[] = []): Plan => ({
      name,
      unit: "/s",
      against,
      run: () => {
        ran.push(name);
        return Promise.resolve({ value: values.shift() ?? 0 });
      },
    });
    const plans = [plan("ours", [10, 30, 20], ["bare"]), plan("bare", [40, 50, 100])];
    const series = await interleave(plans, 3, false, () => undefined);
    expect(ran).toEqual(["ours", "bare", "ours", "bare", "ours", "bare"]);
    expect(ratiosOf(plans, series)).toEqual([{ of: "ours", against: "bare", ratio: 0.4, lowest: 0.2, highest: 0.6 }]);
    expect(medianOf([4, 1, 2, 3])).toBe(2.5);
    expect(plotOf("a < b", "", series)).toContain("a &lt; b");
  });

  test("rows and answers must agree, but for what failed", () => {
    expect(faultsOf({ value: 1, acknowledged: 3, rows: 3 })).toEqual([]);
    expect(faultsOf({ value: 1, acknowledged: 3, rows: 4, failures: { unavailable: 1 } })).toEqual([]);
    expect(faultsOf({ value: 1, acknowledged: 3, rows: 2 })).toEqual(["1 acknowledged but not there"]);
    expect(faultsOf({ value: 1, acknowledged: 3, rows: 4 })).toEqual(["1 there but not acknowledged"]);
  });
});

test("a profile gives the time of Node's code to the package that called it", () => {
  const frame = (functionName: string, url: string) => ({ functionName, url, lineNumber: 0 });
  const { busyMs, packages, charged } = summarise({
    nodes: [
      { id: 1, callFrame: frame("(root)", ""), children: [2, 4] },
      { id: 2, callFrame: frame("handle", "file:///shop/node_modules/fastify/lib/route.js"), children: [3] },
      { id: 3, callFrame: frame("emit", "node:events") },
      { id: 4, callFrame: frame("(idle)", "") },
    ],
    samples: [2, 3, 4, 2],
    timeDeltas: [0, 1_000, 2_000, 4_000],
  });
  expect(busyMs).toBe(3);
  expect(Object.fromEntries(packages)).toEqual({ fastify: 1, node: 2 });
  expect(Object.fromEntries(charged)).toEqual({ fastify: 3 });
});
