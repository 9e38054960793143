import { productErrors } from "./errors.ts";
import { fold } from "./text.ts";

/** Levels of the tree, the top one included. */
export const MOST_LEVELS = 10;

/** Characters of a generated slug; the contract allows 120, which leaves room for a number. */
const SLUG_LENGTH = 100;

/** Letters that are not a base letter with an accent. */
const SPELT: Readonly<Record<string, string>> = {
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ø: "o",
  ł: "l",
  đ: "d",
  ð: "d",
  þ: "th",
  ı: "i",
};

/** A name for addresses: `Käse & Würste` is `kase-wurste`. `category` where no letter or digit is left. */
export function slugOf(name: string): string {
  const slug = fold(name)
    .replace(/[^a-z0-9]/g, (letter) => SPELT[letter] ?? "-")
    .replace(/-+/g, "-")
    .replace(/^-/, "")
    .slice(0, SLUG_LENGTH)
    .replace(/-$/, "");
  return slug || "category";
}

/**
 * Refuses a place in the tree that would make a cycle or an eleventh level.
 * @param path ids from the top down to the new parent
 * @param levels of what is put there: 1 for a category without children
 * @throws AppError CATEGORY_CYCLE
 */
export function checkPlace(id: string, path: readonly string[], levels: number): void {
  if (path.includes(id)) throw productErrors.CATEGORY_CYCLE();
  if (path.length + levels > MOST_LEVELS) {
    throw productErrors.CATEGORY_CYCLE({ message: `The tree would be deeper than ${String(MOST_LEVELS)}.` });
  }
}
