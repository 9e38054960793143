import type { CallOptions } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { SingleBar } from "cli-progress";
import { Command, InvalidArgumentError } from "commander";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import { mapConcurrently } from "../platform/streams.ts";
import { wireRegistry } from "../platform/wire.ts";
import { gatewayTrust, gatewayUrl, parseUrl } from "./gateway-url.ts";
import { SAMPLE_PASSWORD } from "../roles/user/sample-accounts.ts";
import { bearer, login, sampleEmail } from "./login.ts";
import { seedOrder, seedProduct, seedStock, seedUser } from "./seed-data.ts";

/** Calls at the same time. */
const concurrency = 32;

const options = new Command("npm run seed --")
  .description(
    "Fills a running shop through its gateway. The same numbers always make the same things: what is there already stays.",
  )
  .option("--products <n>", "products to have, with stock", whole, 0)
  .option("--users <n>", "users to have", whole, 0)
  .option("--orders <n>", "orders to have; needs users and products", whole, 0)
  .option("--url <url>", "the gateway", parseUrl, gatewayUrl())
  .option("--token <token>", "an access token of an admin; empty: that of the sample shop's admin")
  .addHelpText("after", "\nExample:\n  npm run seed -- --products 10000 --users 100 --orders 1000\n")
  .parse()
  .opts<{ products: number; users: number; orders: number; url: string; token?: string }>();

if (options.products + options.users + options.orders === 0) {
  process.stderr.write("Say how many: npm run seed -- --products 10000   (--help tells more)\n");
  process.exit(2);
}

let token: string | Promise<string> | undefined;
const transport = createConnectTransport({
  baseUrl: options.url,
  httpVersion: "2",
  nodeOptions: gatewayTrust(),
  useBinaryFormat: true,
  jsonOptions: { registry: wireRegistry },
  interceptors: [bearer(() => (token ??= options.token ?? logInAsAdmin()))],
});
const users = createClient(UserService, transport);
const products = createClient(ProductService, transport);
const orders = createClient(OrderService, transport);
const inventory = createClient(InventoryService, transport);

try {
  await fill("products", options.products, async (n, call) => {
    try {
      await products.addProduct(seedProduct(n), call);
    } finally {
      await stockUp(n);
    }
  });
  const userIds: string[] = [];
  await fill("users", Math.max(options.users, options.orders > 0 ? 1 : 0), async (n, call) => {
    try {
      const { user } = await users.createUser(seedUser(n), call);
      userIds[n - 1] = user?.id ?? "";
    } catch (error) {
      if (isThere(error)) userIds[n - 1] = await findUser(n);
      throw error;
    }
  });
  await fill("orders", options.orders, (n, call) => orders.createOrder(seedOrder(n, userIds, options.products), call));
  process.exit(0);
} catch (error) {
  process.stderr.write(`\n${explain(error)}\n`);
  process.exit(1);
}

/** Gives the variants of the n-th product stock, where they have none. */
async function stockUp(n: number): Promise<void> {
  for (const adjustment of seedStock(n)) {
    try {
      await inventory.adjustStock(adjustment);
    } catch (error) {
      if (!reasonsOf(error).includes("STOCK_CHANGED")) throw error;
    }
  }
}

/** Makes the things 1 to `count`; one that is there already counts as made. */
async function fill(
  what: string,
  count: number,
  make: (n: number, call: CallOptions) => Promise<unknown>,
): Promise<void> {
  if (count === 0) return;
  const bar = new SingleBar({
    format: `${what.padEnd(9)} {bar} {value}/{total}  {eta_formatted} left`,
    hideCursor: true,
  });
  const startedAt = performance.now();
  let there = 0;
  bar.start(count, 0);
  try {
    const made = mapConcurrently(numbers(count), concurrency, async (n) => {
      let replayed = false;
      try {
        await make(n, { onHeader: (header) => (replayed = header.has("idempotent-replayed")) });
        return { there: replayed };
      } catch (error) {
        return isThere(error) ? { there: true } : { error };
      }
    });
    for await (const result of made) {
      if ("error" in result) throw result.error;
      if (result.there) there += 1;
      bar.increment();
    }
  } finally {
    bar.stop();
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const rate = `${seconds.toFixed(1)} s, ${Math.round(count / seconds).toString()} a second`;
  process.stdout.write(
    `${String(count)} ${what} (${rate})${there > 0 ? `, ${String(there)} were there already` : ""}\n`,
  );
}

/** Its name is taken, or its key: an order's content depends on the numbers of users and products too. */
function isThere(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return false;
  return error.code === Code.AlreadyExists || reasonsOf(error).includes("IDEMPOTENCY_KEY_REUSED");
}

function reasonsOf(error: unknown): string[] {
  return error instanceof ConnectError ? error.findDetails(ErrorInfoSchema).map(({ reason }) => reason) : [];
}

/** The id of the n-th user, made in a run so long ago that its idempotency key is forgotten. */
async function findUser(n: number): Promise<string> {
  const { email = "" } = seedUser(n);
  const found = await users.listUsers({ prefix: email, pageSize: 1 });
  return found.users[0]?.id ?? "";
}

async function* numbers(count: number): AsyncIterable<number> {
  for (let n = 1; n <= count; n += 1) yield n;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 10_000_000) {
    throw new InvalidArgumentError("must be a whole number up to 10000000");
  }
  return value;
}

function logInAsAdmin(): Promise<string> {
  const plain = createConnectTransport({ baseUrl: options.url, httpVersion: "2" });
  return login(plain, sampleEmail("admin") ?? "", SAMPLE_PASSWORD);
}

function explain(error: unknown): string {
  if (error instanceof ConnectError && error.code === Code.Unavailable) {
    return `There is no shop at ${options.url} (${error.rawMessage}). Start one with npm start, or say --url.`;
  }
  if (error instanceof ConnectError && error.code === Code.Unauthenticated) {
    return `${error.rawMessage} Elsewhere than in the sample shop say --token; npm run token gets one.`;
  }
  return error instanceof Error ? error.message : String(error);
}
