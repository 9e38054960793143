import { expect, test } from "vitest";
import { fold, searchQuery, searchVector, sortKey, words } from "./text.ts";

test("folding drops case and accents and keeps every script", () => {
  expect(fold("Crème BRÛLÉE")).toBe("creme brulee");
  expect(fold("İstanbul")).toBe("istanbul");
  expect(fold("½ ﬁne")).toBe("1⁄2 fine");
  expect(fold("Ελλάς 東京 हिन्दी")).toBe("ελλας 東京 हिन्दी");
});

test("words are runs of letters and digits, cut at 64 characters", () => {
  expect(words("TEE-WHITE_M.2, 1e5 don't")).toEqual(["tee", "white", "m", "2", "1e5", "don", "t"]);
  expect(words("x".repeat(130))).toEqual(["x".repeat(64), "x".repeat(64), "xx"]);
  expect(words("'; drop -- \\ ' &|!:*")).toEqual(["drop"]);
  expect(words("!?")).toEqual([]);
});

test("a sort key ends after 100 characters, whole ones", () => {
  expect(sortKey("  Äpfel ")).toBe("apfel");
  expect(sortKey(`${"a".repeat(99)}😀😀`)).toBe(`${"a".repeat(99)}😀`);
});

test("a vector has each word once, with places and weights", () => {
  expect(searchVector({ names: ["Red Mug", "MUG-1"], attributes: ["Red"], text: "A mug." })).toBe(
    "'red':1A,5B 'mug':2A,3A,7D '1':4A 'a':6D",
  );
  expect(searchVector({ names: [], attributes: [], text: "" })).toBe("");
});

test("a vector stays below what Postgres holds, and keeps the names", () => {
  const many = Array.from({ length: 40_000 }, (_, index) => `w${String(index)}`).join(" ");
  const vector = searchVector({ names: ["Title"], attributes: [many], text: `${many} title` });
  expect(vector.startsWith("'title':1A,16383D ")).toBe(true);
  expect(vector.split(" ")).toHaveLength(3_000);
  const same = searchVector({ names: [], attributes: [], text: "again ".repeat(1_000) });
  expect(same.split(",")).toHaveLength(8);
});

test("a query takes all words, the last as a beginning", () => {
  expect(searchQuery("Stoneware mu")).toBe("'stoneware' & 'mu':*");
  expect(searchQuery("  ")).toBeUndefined();
  expect(searchQuery("?!")).toBe("");
  expect(searchQuery("a ".repeat(100))?.split(" & ")).toHaveLength(20);
});
