import type { ProductRow } from "./store.ts";

/** Products of one page, and of one chunk. */
const PAGE_SIZE = 500;

/** Bytes of one chunk, about; a product that is larger goes alone. */
const CHUNK_BYTES = 512 * 1024;

/** Reads products in the order of their ids, those after one. */
export type ReadPage = (after: string | undefined, limit: number) => Promise<ProductRow[]>;

/** At least one product. */
export interface Chunk {
  readonly products: readonly ProductRow[];
  readonly last: ProductRow;
}

export interface ExportOptions {
  readonly after: string | undefined;
  /** At most so many products; undefined for all. */
  readonly limit: bigint | undefined;
  readonly signal: AbortSignal;
}

/**
 * All products in chunks. While a page is passed on the next one is read, never more; nothing is held open in the
 * database between pages, and nothing is read after the signal aborts.
 */
export async function* exportProducts(read: ReadPage, options: ExportOptions): AsyncGenerator<Chunk> {
  for await (const page of readAhead(read, options)) yield* chunksOf(page);
}

async function* readAhead(read: ReadPage, { after, limit, signal }: ExportOptions): AsyncGenerator<ProductRow[]> {
  let left = limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
  const start = (from: string | undefined) => {
    const page = read(from, Math.min(PAGE_SIZE, left));
    // Its failure is thrown where it is awaited; a reader who has gone away does not.
    page.catch(() => undefined);
    return page;
  };
  let ahead = left > 0 ? start(after) : undefined;
  while (ahead) {
    const page: ProductRow[] = await ahead;
    const last = page.at(-1);
    if (!last || signal.aborted) return;
    const isFull = page.length === Math.min(PAGE_SIZE, left);
    left -= page.length;
    ahead = isFull && left > 0 ? start(last.id) : undefined;
    yield page;
  }
}

function* chunksOf(page: readonly ProductRow[]): Generator<Chunk> {
  let products: ProductRow[] = [];
  let last: ProductRow | undefined;
  let bytes = 0;
  for (const product of page) {
    const size = sizeOf(product);
    if (last && bytes + size > CHUNK_BYTES) {
      yield { products, last };
      products = [];
      bytes = 0;
    }
    products.push(product);
    last = product;
    bytes += size;
  }
  if (last) yield { products, last };
}

/** Bytes of ids, times, tags and lengths, generously. */
const FIXED_BYTES = 150;
const ENTRY_BYTES = 8;

/** About the bytes of the product as a message. */
function sizeOf(product: ProductRow): number {
  let size = FIXED_BYTES + bytesOf(product.title) + bytesOf(product.description) + mapSize(product.attributes);
  for (const url of product.image_urls) size += ENTRY_BYTES + bytesOf(url);
  for (const variant of product.variants) {
    size += 4 * ENTRY_BYTES + bytesOf(variant.sku) + mapSize(variant.options) + mapSize(variant.attributes);
  }
  return size;
}

function mapSize(map: Readonly<Record<string, string>>): number {
  let size = 0;
  for (const [key, value] of Object.entries(map)) size += ENTRY_BYTES + bytesOf(key) + bytesOf(value);
  return size;
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}
