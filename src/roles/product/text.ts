/**
 * Text as people search and sort it: without case and accents. Made here and not by the text search of Postgres, whose
 * parser takes SKUs apart as numbers, hosts and files, and whose lower case depends on the server.
 */

/** Characters after which a word is cut into two; Postgres refuses a lexeme of 2 KiB. */
const WORD_LENGTH = 64;
/** Different words that are found of one product; a tsvector holds 1 MiB. */
const MOST_WORDS = 3_000;
/** Places of one word that count towards its rank. */
const MOST_PLACES = 8;
/** The last place that a tsvector can express. */
const LAST_PLACE = 16_383;
/** Words of a query that count. */
const MOST_QUERY_WORDS = 20;
/** Characters of a sort key: it must fit a page token. */
const SORT_KEY_LENGTH = 100;

/** Lower case, without accents: `Crème Brûlée` is `creme brulee`. */
export function fold(text: string): string {
  return text
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[\u0300-\u036f]/g, "");
}

/** What rows are sorted by, with code points compared; equal for texts that differ only in case and accents. */
export function sortKey(text: string): string {
  return Array.from(fold(text).trim()).slice(0, SORT_KEY_LENGTH).join("");
}

const word = new RegExp(`[\\p{L}\\p{N}\\p{M}]{1,${String(WORD_LENGTH)}}`, "gu");

/** The runs of letters and digits, folded: `TEE-M` is `tee` and `m`. */
export function words(text: string): string[] {
  return fold(text).match(word) ?? [];
}

/** What is found, the most important first; a match in an earlier one ranks higher. */
export interface Searchable {
  readonly names: readonly string[];
  readonly attributes: readonly string[];
  readonly text: string;
}

/** The tsvector of a product, in the text form that Postgres reads. */
export function searchVector({ names, attributes, text }: Searchable): string {
  const places = new Map<string, string[]>();
  let place = 0;
  const add = (source: string, weight: string) => {
    for (const found of words(source)) {
      place = Math.min(place + 1, LAST_PLACE);
      const known = places.get(found);
      if (known) {
        if (known.length < MOST_PLACES) known.push(`${String(place)}${weight}`);
      } else if (places.size < MOST_WORDS) {
        places.set(found, [`${String(place)}${weight}`]);
      }
    }
  };
  for (const name of names) add(name, "A");
  for (const attribute of attributes) add(attribute, "B");
  add(text, "D");
  return [...places].map(([found, at]) => `'${found}':${at.join(",")}`).join(" ");
}

/**
 * The tsquery of what somebody typed: all the words, the last one perhaps not yet typed to its end. Undefined where
 * nothing was typed; a query that finds nothing where no letter or digit was.
 */
export function searchQuery(text: string): string | undefined {
  if (text.trim() === "") return undefined;
  const typed = words(text).slice(0, MOST_QUERY_WORDS);
  return typed.map((found, index) => `'${found}'${index === typed.length - 1 ? ":*" : ""}`).join(" & ");
}
