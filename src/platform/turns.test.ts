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
