import { expect, test } from "vitest";
import { exportProducts } from "./export-products.ts";
import type { ProductRow } from "./store.ts";

const at = new Date(0);

function product(index: number, description = ""): ProductRow {
  const id = String(index).padStart(6, "0");
  const texts = { title: "t", description, tax_category: "standard", currency_code: "EUR" };
  const rest = { state: "active", category_id: null, attributes: {}, image_urls: [], variants: [] } as const;
  return { id, ...texts, ...rest, image_urls: [], variants: [], version: 1, created_at: at, updated_at: at };
}

/** Pages of this many products, and what was asked for. */
function pagesOf(total: number, description = "") {
  const reads: (readonly [after: string | undefined, limit: number])[] = [];
  const read = (after: string | undefined, limit: number) => {
    reads.push([after, limit]);
    const from = after === undefined ? 0 : Number(after) + 1;
    const length = Math.max(0, Math.min(limit, total - from));
    return Promise.resolve(Array.from({ length }, (_, index) => product(from + index, description)));
  };
  return { reads, read };
}

async function sizesOf(read: ReturnType<typeof pagesOf>["read"], limit?: bigint, after?: string): Promise<number[]> {
  const sizes: number[] = [];
  for await (const chunk of exportProducts(read, { after, limit, signal: new AbortController().signal })) {
    expect(chunk.products.at(-1)).toBe(chunk.last);
    sizes.push(chunk.products.length);
  }
  return sizes;
}

test("pages of 500 until one is not full; nothing of nothing", async () => {
  const { read, reads } = pagesOf(1_200);
  expect(await sizesOf(read)).toEqual([500, 500, 200]);
  expect(reads).toEqual([
    [undefined, 500],
    ["000499", 500],
    ["000999", 500],
  ]);
  expect(await sizesOf(pagesOf(0).read)).toEqual([]);
  expect(await sizesOf(pagesOf(1_000).read)).toEqual([500, 500]);
  expect(await sizesOf(read, undefined, "001150")).toEqual([49]);
});

test("a limit ends it, and is not read past", async () => {
  const { read, reads } = pagesOf(2_000);
  expect(await sizesOf(read, 501n)).toEqual([500, 1]);
  expect(reads.map(([, limit]) => limit)).toEqual([500, 1]);
  expect(await sizesOf(read, 500n)).toEqual([500]);
  reads.length = 0;
  expect(await sizesOf(read, 0n)).toEqual([]);
  expect(reads).toEqual([]);
  expect(await sizesOf(read, 2n ** 63n - 1n)).toEqual([500, 500, 500, 500]);
});

test("chunks stay at about 512 KiB, counted in bytes; a larger product goes alone", async () => {
  expect(await sizesOf(pagesOf(20, "ü".repeat(50_000)).read)).toEqual([5, 5, 5, 5]);
  expect(await sizesOf(pagesOf(3, "x".repeat(600_000)).read)).toEqual([1, 1, 1]);
});

test("one page is read ahead, none after the signal aborts or the reader leaves", async () => {
  const { read, reads } = pagesOf(5_000);
  const abort = new AbortController();
  const chunks = exportProducts(read, { after: undefined, limit: undefined, signal: abort.signal });
  await chunks.next();
  expect(reads).toHaveLength(2);
  abort.abort();
  expect(await chunks.next()).toEqual({ done: true, value: undefined });
  expect(reads).toHaveLength(2);

  const left = exportProducts(read, { after: undefined, limit: undefined, signal: new AbortController().signal });
  await left.next();
  await left.return(undefined);
  expect(reads).toHaveLength(4);
});

test("a page that cannot be read fails the reader who waits for it, and nobody else", async () => {
  const failing = (after: string | undefined) =>
    after === undefined ? pagesOf(500).read(after, 500) : Promise.reject(new Error("gone"));
  const chunks = exportProducts(failing, { after: undefined, limit: undefined, signal: new AbortController().signal });
  expect((await chunks.next()).done).toBe(false);
  await expect(chunks.next()).rejects.toThrow("gone");
});
