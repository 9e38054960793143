import { describe, expect, test } from "vitest";
import { mapConcurrently } from "./streams.ts";

/** A source whose pulls can be counted, and which may fail at its end. */
function source(count: number, failure?: Error) {
  const state = { pulled: 0, closed: false };
  async function* items(): AsyncIterable<number> {
    try {
      for (let n = 0; n < count; n += 1) {
        state.pulled += 1;
        yield n;
      }
      if (failure) throw failure;
    } finally {
      state.closed = true;
    }
  }
  return { state, items: items() };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("mapConcurrently", () => {
  test("every item has its result, each as soon as it is there", async () => {
    const gates = Array.from({ length: 3 }, () => Promise.withResolvers<undefined>());
    const results = mapConcurrently(source(3).items, 3, async (n) => {
      await gates[n]?.promise;
      return { n };
    })[Symbol.asyncIterator]();
    const first = results.next();
    gates[2]?.resolve(undefined);
    expect((await first).value).toEqual({ n: 2 });
    gates[0]?.resolve(undefined);
    gates[1]?.resolve(undefined);
    const rest = [(await results.next()).value.n, (await results.next()).value.n];
    expect(new Set(rest)).toEqual(new Set([0, 1]));
    expect((await results.next()).done).toBe(true);
  });

  test("no more than the limit is at work or unread, so a slow reader holds back the source", async () => {
    const { state, items } = source(1_000);
    let atWork = 0;
    let most = 0;
    const results = mapConcurrently(items, 4, async (n) => {
      atWork += 1;
      most = Math.max(most, atWork);
      await turn();
      atWork -= 1;
      return { n };
    })[Symbol.asyncIterator]();
    await results.next();
    for (let n = 0; n < 50; n += 1) await turn();
    expect(state.pulled).toBeLessThanOrEqual(5);
    let read = 1;
    while (!(await results.next()).done) read += 1;
    expect(read).toBe(1_000);
    expect(most).toBeLessThanOrEqual(4);
  });

  test("when the source fails, what is at work is delivered first", async () => {
    const { items } = source(2, new Error("cut"));
    const read: number[] = [];
    const reading = (async () => {
      const results = mapConcurrently(items, 8, async (n) => {
        await turn();
        return { n };
      });
      for await (const { n } of results) read.push(n);
    })();
    await expect(reading).rejects.toThrow("cut");
    expect(read).toEqual([0, 1]);
  });

  test("a reader that leaves closes the source", async () => {
    const { state, items } = source(1_000);
    for await (const result of mapConcurrently(items, 2, (n) => Promise.resolve({ n }))) {
      expect(result).toBeDefined();
      break;
    }
    await turn();
    expect(state.closed).toBe(true);
  });
});
