import { expect, test } from "vitest";
import { createTurns } from "./turns.ts";

const never = new AbortController().signal;

function gated() {
  const gate = Promise.withResolvers<string>();
  return { ...gate, work: () => gate.promise };
}

test("so many at once, first come, first served, also after failures", async () => {
  const inTurn = createTurns(2, 1_000);
  const begun: number[] = [];
  const gates = [gated(), gated(), gated(), gated()];
  const calls = gates.map((gate, at) =>
    inTurn(never, () => {
      begun.push(at);
      return gate.work();
    }),
  );
  expect(begun).toEqual([0, 1]);
  gates[1]?.reject(new Error("failed"));
  await expect(calls[1]).rejects.toThrow("failed");
  expect(begun).toEqual([0, 1, 2]);
  for (const gate of gates) gate.resolve("done");
  await expect(Promise.all([calls[0], calls[2], calls[3]])).resolves.toEqual(["done", "done", "done"]);
  expect(begun).toEqual([0, 1, 2, 3]);
});

test("whoever is gone before its turn does nothing, and too many are refused", async () => {
  const inTurn = createTurns(1, 1);
  const first = gated();
  const gone = new AbortController();
  const calls = [inTurn(never, first.work), inTurn(gone.signal, () => Promise.resolve("done"))];
  await expect(inTurn(never, first.work)).rejects.toMatchObject({ reason: "OVERLOADED" });
  gone.abort(new Error("gone"));
  first.resolve("done");
  await expect(calls[0]).resolves.toBe("done");
  await expect(calls[1]).rejects.toThrow("gone");
  await expect(inTurn(never, () => Promise.resolve("again"))).resolves.toBe("again");
});

test("places that are kept are for what nobody is at work on; the others are first come, first served", async () => {
  const inTurn = createTurns(3, 1_000, 1);
  const begun: string[] = [];
  const gates = new Map<string, ReturnType<typeof gated>>();
  const call = (name: string, ...about: string[]) => {
    const gate = gated();
    gates.set(name, gate);
    const work = () => {
      begun.push(name);
      return gate.work();
    };
    return inTurn(never, work, new Set(about));
  };
  const done = async (name: string, of: Promise<unknown>) => {
    gates.get(name)?.resolve("done");
    await of;
  };
  const calls = [call("a1", "a"), call("a2", "a"), call("a3", "a"), call("ab", "a", "b"), call("b1", "b")];
  expect(begun).toEqual(["a1", "a2", "b1"]);
  const late = [call("c1", "c"), call("c2", "c"), call("b2", "b")];
  await done("b1", Promise.resolve(calls[4]));
  expect(begun.slice(3)).toEqual(["c1"]);
  await done("c1", Promise.resolve(late[0]));
  expect(begun.slice(4)).toEqual(["c2"]);
  await done("a1", Promise.resolve(calls[0]));
  expect(begun.slice(5)).toEqual(["a3"]);
  for (const gate of gates.values()) gate.resolve("done");
  await Promise.all([...calls, ...late]);
  expect(begun.slice(6)).toEqual(["ab", "b2"]);
});
