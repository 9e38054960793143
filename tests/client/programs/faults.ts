/** What a bad connection does to a program: compiled against the package, run by Node. */
import type { Tokens } from "@connect-commerce/client";
import { createShop } from "@connect-commerce/client";
import { WaitFor } from "@connect-commerce/client/order";

interface Place {
  readonly baseUrl: string;
  readonly tokens: Tokens;
}

function shopAt({ baseUrl, tokens }: Place, fetch = globalThis.fetch) {
  return createShop({ baseUrl, fetch, tokens: { load: () => tokens, save: () => undefined } });
}

/** Orders once, without a key of its own. */
export async function order({ sku, ...place }: Place & { readonly sku: string }): Promise<string> {
  const request = { items: [{ sku, quantity: 1 }], waitFor: WaitFor.SETTLED };
  const { order: placed } = await shopAt(place).orders.createOrder(request);
  return placed?.id ?? "";
}

/** Watches an order to its end; says each position as it comes. */
export async function watch({ id, ...place }: Place & { readonly id: string }): Promise<string[]> {
  const positions: string[] = [];
  for await (const { event } of shopAt(place).orders.watchOrder({ id })) {
    positions.push(String(event?.position));
    console.log(`position ${String(event?.position)}`);
  }
  return positions;
}

/** Exports the catalogue over a connection that breaks once in the middle. */
export async function exportAll({
  limit,
  ...place
}: Place & { readonly limit: number }): Promise<{ ids: string[]; calls: number }> {
  let calls = 0;
  const shop = shopAt(place, async (input, init) => {
    const answer = await globalThis.fetch(input, init);
    calls += 1;
    return calls === 1 ? new Response(answer.body?.pipeThrough(breakingAfter(1_000_000)), answer) : answer;
  });
  const ids: string[] = [];
  const chunks = shop.products.listProducts({ limit: BigInt(limit) });
  for await (const { products } of chunks) ids.push(...products.map(({ id }) => id));
  return { ids, calls };
}

function breakingAfter(bytes: number): TransformStream<Uint8Array, Uint8Array> {
  let left = bytes;
  return new TransformStream({
    transform(piece, controller) {
      left -= piece.byteLength;
      if (left > 0) controller.enqueue(piece);
      else controller.error(new TypeError("the connection broke"));
    },
  });
}
