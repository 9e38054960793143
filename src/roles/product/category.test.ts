import { expect, test } from "vitest";
import { checkPlace, slugOf } from "./category.ts";

test.each([
  ["Käse & Würste", "kase-wurste"],
  ["Straße der Ærøer, Łódź", "strasse-der-aeroer-lodz"],
  ["  --T-Shirts!  ", "t-shirts"],
  ["日本語", "category"],
  ["2½", "21-2"],
  [`${"x".repeat(99)} yz`, "x".repeat(99)],
  ["ß".repeat(100), "s".repeat(100)],
])("the slug of %s", (name, slug) => {
  expect(slugOf(name)).toBe(slug);
  expect(slugOf(name)).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
});

test("a category may be put anywhere but below itself or below the tenth level", () => {
  const cycle = expect.objectContaining({ reason: "CATEGORY_CYCLE" });
  const path = Array.from({ length: 9 }, (_, index) => `c${String(index)}`);
  expect(() => checkPlace("new", path, 1)).not.toThrow();
  expect(() => checkPlace("new", path, 2)).toThrow(cycle);
  expect(() => checkPlace("c0", ["c0"], 1)).toThrow(cycle);
  expect(() => checkPlace("c1", path, 1)).toThrow(cycle);
  expect(() => checkPlace("new", [], 10)).not.toThrow();
});
