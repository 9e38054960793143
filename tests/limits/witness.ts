import { readFile } from "node:fs/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";

/** What the witness saw since it was told to begin. */
export interface Seen {
  readonly calls: number;
  readonly failed: readonly string[];
  /** Milliseconds of each call, the fastest first. */
  readonly tookMs: readonly number[];
  readonly peakRssMiB: number;
}

/**
 * A client of its own process, so that it does not wait for the attacker's event loop: 50 GetProduct a second, sent
 * whether the one before is answered or not, and a look at the gateway's memory every 20 ms. "begin" makes it forget;
 * every message is answered with what it saw.
 */
const [url = "", id = "", pid = "", token = ""] = process.argv.slice(2);
const products = createClient(ProductService, createGrpcTransport({ baseUrl: url }));
let took: number[] = [];
let failed: string[] = [];
let peakRssMiB = 0;

async function call(): Promise<void> {
  const startedAt = performance.now();
  try {
    await products.getProduct({ id }, { timeoutMs: 15_000, headers: { authorization: `Bearer ${token}` } });
  } catch (error) {
    failed.push(String(error));
  }
  took.push(performance.now() - startedAt);
}

async function look(): Promise<void> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  peakRssMiB = Math.max(peakRssMiB, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024);
}

setInterval(() => void call(), 20);
setInterval(() => void look(), 20);

process.on("message", (wish) => {
  if (wish === "begin") {
    took = [];
    failed = [];
    peakRssMiB = 0;
  }
  const tookMs = took.toSorted((a, b) => a - b);
  process.send?.({ calls: tookMs.length, failed, tookMs, peakRssMiB } satisfies Seen);
});
process.on("disconnect", () => process.exit());
