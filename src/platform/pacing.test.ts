import { expect, test } from "vitest";
import { createPacing } from "./pacing.ts";

test("where nothing waits work begins at once; one piece in a turn, and everybody takes turns", async () => {
  const pace = createPacing();
  const [ada, bob] = [{}, {}];
  const begun: string[] = [];
  const turns: (readonly string[])[] = [];
  for (const name of ["ada 1", "ada 2", "ada 3", "ada 4"]) pace(ada, () => begun.push(name));
  pace(bob, () => begun.push("bob 1"));
  expect(begun).toEqual(["ada 1"]);
  for (let turn = 0; turn < 6; turn += 1) {
    await new Promise(setImmediate);
    turns.push(begun.splice(0));
    if (turn === 1) pace(bob, () => begun.push("bob 2"));
  }
  expect(turns).toEqual([["ada 1", "ada 2"], ["bob 1"], ["ada 3"], ["bob 2"], ["ada 4"], []]);
  pace(bob, () => begun.push("bob 3"));
  expect(begun).toEqual(["bob 3"]);
});
