import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { toBinary, toJson } from "@bufbuild/protobuf";
import { Client } from "pg";
import { expect, test } from "vitest";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import type { Answer, Payload, Sender, Wire } from "../support/wire.ts";
import { openSender, wires } from "../support/wire.ts";
import type { Known, Random } from "./generate.ts";
import { randomMessage, seeded } from "./generate.ts";

/** Messages in all. */
const messages = Number(process.env["FUZZ_MESSAGES"] ?? 20_000);
/** FUZZ_SEED repeats a run. */
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 1_000_000);
const concurrency = 8;

const services: readonly DescService[] = [UserService, ProductService, OrderService, InventoryService, PaymentService];
/** All that may be called from outside, but for a stream that never ends. */
const methods = services.flatMap((service) =>
  service.methods.filter((method) => accessRule(method).level !== "internal" && method.name !== "WatchStock"),
);

const restMethods = methods.filter((method) => httpBindingsOf(method).length > 0);

/** The rows that one OK answer of a method makes. Orders of streams and batches answer one by one. */
const makes: Readonly<Record<string, string>> = {
  CreateUser: "users",
  AddProduct: "products",
  CreateCategory: "categories",
  CreateOrder: "orders",
};

test.each(topologies)("no message makes the shop in %s fail", async (topology) => {
  await using shop = await startInstallation(topology);
  const known = await populate(shop);
  const before = await rowsOf(shop);
  const made: Record<string, number> = {};
  const codes: Record<string, number> = {};
  const wrong: string[] = [];
  const senders = new Map(wires.map((wire) => [wire, openSender(wire, shop.url)]));
  const count = Math.ceil(messages / topologies.length);

  const sendOne = async (n: number) => {
    const random = seeded(seed * 1_000_003 + n);
    const wire = random.pick(wires);
    const method = random.pick(wire === "REST" ? restMethods : methods);
    const payload = payloadOf(method, random, known, wire);
    const answer = await (senders.get(wire) as Sender).send(method, payload);
    codes[answer.code] = (codes[answer.code] ?? 0) + 1;
    if (!isFine(answer)) wrong.push(`#${String(n)} ${wire} ${method.name}: ${JSON.stringify(answer)}`);
    const table = makes[method.name];
    if (answer.code === "ok" && table !== undefined) made[table] = (made[table] ?? 0) + 1;
  };
  let next = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < count) await sendOne(next++);
    }),
  );
  for (const sender of senders.values()) sender.close();

  console.info(`fuzz: ${topology}, seed ${String(seed)}, ${String(count)} messages, ${JSON.stringify(codes)}`);
  expect(wrong, `FUZZ_SEED=${String(seed)}`).toEqual([]);
  // An OK is a row, or the replay of one: what was refused has made none.
  const after = await rowsOf(shop);
  for (const table of ["users", "products", "categories"]) {
    expect((after[table] ?? 0) - (before[table] ?? 0), `${table}, FUZZ_SEED=${String(seed)}`).toBeLessThanOrEqual(
      made[table] ?? 0,
    );
  }
  const failures = [...new Set(Object.values(shop.processes))].flatMap(({ log }) =>
    log.filter(({ level }) => level === "error"),
  );
  expect(failures).toEqual([]);
});

/** OK, or a refusal with one reason that is the caller's to read, and no failure of ours. */
function isFine({ status, code, reasons }: Answer): boolean {
  if (code === "ok") return status === 200;
  if (["internal", "unknown", "unavailable", "data_loss", ""].includes(code)) return false;
  return reasons.length === 1 && (status < 500 || status === 501);
}

function payloadOf(method: DescMethod, random: Random, known: Known, wire: Wire): Payload {
  const message = randomMessage(method.input, random, known);
  const binary = toBinary(method.input, message);
  if (random.next() < 0.15 && binary.length > 0) {
    binary[random.below(binary.length)] = random.below(256);
  }
  if (wire !== "Connect JSON" && wire !== "REST") return { binary, json: "" };
  try {
    return { binary, json: JSON.stringify(toJson(method.input, message)) };
  } catch {
    // Some messages have no JSON form: a timestamp beyond its years, say.
    return { binary, json: '{"surprise":[1,{}]}' };
  }
}

async function populate(shop: Installation): Promise<Known> {
  const { users, products, orders } = clientsOf(protocols["Connect binary"](shop.url));
  const { user } = await users.createUser({ email: "known@example.com" });
  const { product } = await products.addProduct({
    title: "Known",
    variants: [{ sku: "KNOWN-1", price: { currencyCode: "EUR", amountMinor: 100n } }],
  });
  const { category } = await products.createCategory({ name: "Known" });
  const { order } = await orders.createOrder({ userId: user?.id ?? "", items: [{ sku: "KNOWN-1", quantity: 1 }] });
  // Final, so that watching it ends.
  await orders.cancelOrder({ id: order?.id ?? "" });
  const ids = [user?.id ?? "", product?.id ?? "", category?.id ?? "", order?.id ?? ""];
  return {
    id: ids,
    user_id: [ids[0] ?? ""],
    category_id: [ids[2] ?? ""],
    parent_id: [ids[2] ?? ""],
    sku: ["KNOWN-1", "NEW-1", "NEW-2"],
    currency_code: ["EUR"],
    email: ["known@example.com", "new@example.com"],
    title: ["Lamp"],
    name: ["Lamps"],
  };
}

async function rowsOf(shop: Installation): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [role, table] of [
    ["user", "users"],
    ["product", "products"],
    ["product", "categories"],
    ["order", "orders"],
  ] as const) {
    const client = new Client({ connectionString: shop.databases[role]?.url ?? "" });
    await client.connect();
    const { rows } = await client.query<{ n: string }>(`select count(*) as n from ${table}`);
    counts[table] = Number(rows[0]?.n);
    await client.end();
  }
  return counts;
}
