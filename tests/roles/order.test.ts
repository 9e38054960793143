import { randomUUID } from "node:crypto";
import type { Client } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { CreateOrderRequestSchema, CreateOrdersRequestSchema } from "#gen/commerce/order/v1/order_pb.ts";
import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { OrderErrorReason, OrderService, OrderState, OrderStep } from "#gen/commerce/order/v1/order_pb.ts";
import { UserState } from "#gen/commerce/user/v1/user_pb.ts";
import { orderRole } from "../../src/roles/order/index.ts";
import { orderErrors } from "../../src/roles/order/errors.ts";
import type { OrderTables } from "../../src/roles/order/schema.ts";
import { PeerModel } from "../support/order-peers.ts";
import { cataloguePeers, hasty, newCatalogue, orderConfig, productId, waitSettled } from "../support/order.ts";
import { eventsOf } from "../support/outbox.ts";
import type { TestRole } from "../support/role.ts";
import { refusal, startTestRole } from "../support/role.ts";

const userId = randomUUID();
const catalogue = newCatalogue(userId);
const model = new PeerModel();
const peers = [...cataloguePeers(catalogue), ...model.services];

let role: TestRole;
/** One that carries nothing out: its statements are those of the calls. */
let still: TestRole;
let orders: Client<typeof OrderService>;
beforeAll(async () => {
  const setting = { config: orderConfig, peers };
  role = await startTestRole("order", orderRole(hasty), setting);
  still = await startTestRole("order", orderRole({ ...hasty, concurrent: 0, pollMs: 1e6 }), setting);
  orders = role.client(OrderService);
});
afterAll(async () => {
  await role[Symbol.asyncDispose]();
  await still[Symbol.asyncDispose]();
});
beforeEach(() => {
  Object.assign(catalogue, newCatalogue(userId));
  // Orders stay PENDING here; order-checkout.test.ts has what becomes of them.
  model.down.add("reserve");
});

type Draft = MessageInitShape<typeof CreateOrderRequestSchema>;
const draft = (more: Partial<Draft> = {}): Draft =>
  ({ userId, items: [{ sku: "MUG", quantity: 2 }], ...more }) as Draft;

async function count(): Promise<number> {
  const { rows } = await sql<{ n: bigint }>`select count(*) as n from orders`.execute(role.database<OrderTables>());
  return Number(rows[0]?.n);
}

test("the reasons of the code are those of the proto", () => {
  const documented = Object.keys(OrderErrorReason).filter((name) => name !== "UNSPECIFIED");
  expect(Object.keys(orderErrors).sort()).toEqual(documented.sort());
});

describe("CreateOrder", () => {
  test("records what it answers, in one statement", async () => {
    const address = {
      name: "Ada",
      lines: ["1 Analytical Way"],
      city: "Wien",
      region: "",
      postalCode: "1010",
      countryCode: "AT",
      phone: "",
    };
    const calls = still.client(OrderService);
    const before = still.statements.length;
    const { order: created } = await calls.createOrder(
      draft({ shippingAddress: address, idempotencyKey: randomUUID(), paymentMethodToken: "tok_1" }),
    );
    expect(still.statements.slice(before)).toHaveLength(1);
    expect(created?.adjustments).toMatchObject([
      { label: "VAT 20 %", amount: { amountMinor: 516n }, source: "tax:AT:standard" },
    ]);
    expect(created?.lines).toMatchObject([{ number: 1, title: "Title of MUG", options: { size: "L" }, productId }]);
    expect(created?.billingAddress).toEqual(created?.shippingAddress);
    expect((await calls.getOrder({ id: created?.id.toUpperCase() ?? "" })).order).toEqual(created);
    const { events } = await calls.listOrderEvents({ id: created?.id ?? "" });
    expect(events).toMatchObject([
      { position: 1n, state: OrderState.PENDING, step: OrderStep.PLACED, message: "1 SKU for 30.96 EUR." },
    ]);
  });

  test("lines of one SKU are not merged, and a free order has no total", async () => {
    const items = [
      { sku: "FREE", quantity: 1 },
      { sku: "FREE", quantity: 2 },
    ];
    const { order: free } = await orders.createOrder(draft({ items }));
    expect(free?.lines.map(({ number, quantity }) => [number, quantity])).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(free?.totalAmount?.amountMinor).toBe(0n);
  });

  test("refuses what cannot be, with nothing recorded", async () => {
    catalogue.archived.add("TEA");
    const other = randomUUID();
    catalogue.users.set(other, UserState.DEACTIVATED);
    const before = await count();
    const item = (sku: string, quantity = 1) => ({ sku, quantity });
    const refused = await Promise.all(
      [
        draft({ items: [item("MUG"), item("NONE"), item("TEA")] }),
        draft({ userId: other }),
        draft({ userId: randomUUID() }),
        draft({ items: [item("MUG"), item("USD")] }),
        draft({ expectedTotal: { currencyCode: "EUR", amountMinor: 1n } }),
        draft({ items: [item("GOLD", 2)] }),
        draft({ items: [] }),
        draft({ items: [item("MUG", 0), item("MUG", -1)] }),
        draft({ items: Array.from({ length: 101 }, () => item("MUG")) }),
        draft({ items: [item("MU\u0000G")] }),
        draft({ idempotencyKey: "x".repeat(256) }),
        draft({ idempotencyKey: "ä" }),
        draft({ expectedTotal: { currencyCode: "XYZ", amountMinor: 1n } }),
      ].map((request) => refusal(orders.createOrder(request))),
    );
    expect(
      refused.map(({ kind, reason, details }) => [kind, reason, details.fields?.map(({ field }) => field)]),
    ).toEqual([
      ["failed_precondition", "SKU_UNAVAILABLE", undefined],
      ["failed_precondition", "USER_UNAVAILABLE", undefined],
      ["failed_precondition", "USER_UNAVAILABLE", undefined],
      ["failed_precondition", "MIXED_CURRENCY", undefined],
      ["failed_precondition", "PRICE_CHANGED", undefined],
      ["out_of_range", "AMOUNT_TOO_LARGE", undefined],
      ["invalid_argument", "INVALID_REQUEST", ["items"]],
      ["invalid_argument", "INVALID_REQUEST", ["items[0].quantity", "items[1].quantity"]],
      ["invalid_argument", "INVALID_REQUEST", ["items"]],
      ["invalid_argument", "INVALID_REQUEST", ["items[0].sku"]],
      ["invalid_argument", "INVALID_REQUEST", ["idempotency_key"]],
      ["invalid_argument", "INVALID_REQUEST", ["idempotency_key"]],
      ["invalid_argument", "INVALID_REQUEST", ["expected_total.currency_code"]],
    ]);
    const machine = { kind: "machine", id: randomUUID(), permissions: ["order.write"] } as const;
    const ofNobody = role.client(OrderService, { subject: machine }).createOrder(draft({ userId: "" }));
    expect((await refusal(ofNobody)).details.fields?.map(({ field }) => field)).toEqual(["user_id"]);
    expect(refused[0]?.details.preconditions?.map(({ subject }) => subject)).toEqual(["NONE", "TEA"]);
    expect(await count()).toBe(before);
  });

  test("a refused key may be used again", async () => {
    const idempotencyKey = randomUUID();
    expect(
      (await refusal(orders.createOrder(draft({ items: [{ sku: "LATER", quantity: 1 }], idempotencyKey })))).reason,
    ).toBe("SKU_UNAVAILABLE");
    catalogue.prices.set("LATER", { currencyCode: "EUR", amountMinor: 5n });
    const { order: created } = await orders.createOrder(
      draft({ items: [{ sku: "LATER", quantity: 1 }], idempotencyKey }),
    );
    expect(created?.state).toBe(OrderState.PENDING);
  });

  test("a replay answers as first answered, whatever became of catalogue, buyer, peers and order", async () => {
    const request = draft({ idempotencyKey: randomUUID() });
    const { order: first } = await orders.createOrder(request);
    catalogue.archived.add("MUG");
    expect((await orders.createOrder(request)).order).toEqual(first);
    catalogue.users.clear();
    expect((await orders.createOrder(request)).order).toEqual(first);
    catalogue.down = true;
    expect((await orders.createOrder(request)).order).toEqual(first);
    await orders.cancelOrder({ id: first?.id ?? "", ...waitSettled });
    expect((await orders.createOrder(request)).order).toEqual(first);
    const other = draft({ ...request, items: [{ sku: "MUG", quantity: 3 }] } as Partial<Draft>);
    expect((await refusal(orders.createOrder(other))).reason).toBe("IDEMPOTENCY_KEY_REUSED");
  });

  test("keys of different users do not meet", async () => {
    const other = randomUUID();
    catalogue.users.set(other, UserState.ACTIVE);
    const idempotencyKey = randomUUID();
    const as = (id: string) => role.client(OrderService, { subject: { kind: "user", id, permissions: [] } });
    const [mine, theirs] = await Promise.all([
      as(userId).createOrder(draft({ userId: "", idempotencyKey })),
      as(other).createOrder(draft({ userId: "", idempotencyKey })),
    ]);
    expect(mine.order?.id).not.toBe(theirs.order?.id);
  });

  test("60 parallel calls with one key on three replicas record one order and get equal answers", async () => {
    const replicas = [orders, (await role.replica()).client(OrderService), (await role.replica()).client(OrderService)];
    for (let round = 0; round < 5; round += 1) {
      const before = await count();
      const request = draft({ idempotencyKey: randomUUID() });
      const calls = replicas.flatMap((client) => Array.from({ length: 20 }, () => client.createOrder(request)));
      const answers = await Promise.all(calls);
      for (const { order: answer } of answers) expect(answer).toEqual(answers[0]?.order);
      expect(await count()).toBe(before + 1);
    }
  });

  test("of 20 parallel calls with one key and different bodies one body wins", async () => {
    const before = await count();
    const idempotencyKey = randomUUID();
    const calls = Array.from({ length: 20 }, (_, n) =>
      orders.createOrder(draft({ items: [{ sku: "MUG", quantity: n + 1 }], idempotencyKey })).then(
        () => "OK",
        async (error: unknown) => (await refusal(Promise.reject(error as Error))).reason,
      ),
    );
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((outcome) => outcome === "OK")).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === "IDEMPOTENCY_KEY_REUSED")).toHaveLength(19);
    expect(await count()).toBe(before + 1);
  });

  test("a peer that is busy is told as such, and not as a failure of the order", async () => {
    catalogue.down = true;
    const refused = await refusal(orders.createOrder(draft()));
    expect([refused.kind, refused.reason]).toEqual(["unavailable", "OVERLOADED"]);
    expect(refused.details.metadata).toEqual({ peer: "user" });
    expect(refused.details.retryAfterMs).toBeGreaterThan(0);
  });
});

describe("CreateOrders and BatchCreateOrders", () => {
  type Message = MessageInitShape<typeof CreateOrdersRequestSchema>;
  async function results(messages: readonly Message[]) {
    async function* requests(): AsyncIterable<Message> {
      yield* messages;
    }
    const all = new Map<string, string>();
    let n = 0;
    for await (const { sequence, result } of orders.createOrders(requests())) {
      n += 1;
      all.set(
        `${String(n)}:${String(sequence)}`,
        result.case === "order" ? result.value.id : (result.value?.message ?? ""),
      );
    }
    return [...all].map(([at, value]) => [Number(at.split(":")[1]), value] as const).sort(([a], [b]) => a - b);
  }

  test("each order has one result; a bad one is rejected alone", async () => {
    const before = await count();
    const messages: Message[] = Array.from({ length: 200 }, (_, n) => ({
      sequence: n,
      order: draft({ idempotencyKey: `${String(n)}-${randomUUID()}`, ...(n === 100 && { items: [] }) }),
    }));
    const all = await results(messages);
    expect(all.map(([sequence]) => sequence)).toEqual(messages.map(({ sequence }) => sequence));
    expect(all[100]?.[1]).toContain("items");
    expect(await count()).toBe(before + 199);
  });

  test("a key is required; the same key is the same order; a sequence with another key is rejected", async () => {
    const key = randomUUID();
    const all = await results([
      { sequence: 1, order: draft({ idempotencyKey: key }) },
      { sequence: 2, order: draft({ idempotencyKey: key }) },
      { sequence: 1, order: draft({ idempotencyKey: key }) },
      { sequence: 3, order: draft() },
      { sequence: 4 },
    ]);
    expect(new Set(all.slice(0, 3).map(([, id]) => id)).size).toBe(1);
    expect(all[3]?.[1]).toContain("idempotency_key");
    expect(all[4]?.[1]).toContain("items");
    const again = await results([
      { sequence: 7, order: draft({ idempotencyKey: randomUUID() }) },
      { sequence: 7, order: draft({ idempotencyKey: randomUUID() }) },
    ]);
    expect(again.filter(([, value]) => value.includes("sequence"))).toHaveLength(1);
  });

  test("an order of a broken stream may be sent again alone", async () => {
    const request = draft({ idempotencyKey: randomUUID() });
    const [[, id] = []] = await results([{ sequence: 1, order: request }]);
    expect((await orders.createOrder(request)).order?.id).toBe(id);
    const batch = await orders.batchCreateOrders({ orders: [request, draft({ items: [] })] });
    expect(batch.results.map(({ sequence, result }) => [sequence, result.case])).toEqual([
      [0, "order"],
      [1, "error"],
    ]);
    expect(batch.results[0]?.result.value).toMatchObject({ id });
  });
});

describe("ListOrders", () => {
  test("pages newest first without loss or repetition while orders come in", async () => {
    const buyer = randomUUID();
    catalogue.users.set(buyer, UserState.ACTIVE);
    const made: string[] = [];
    for (let n = 0; n < 25; n += 1) {
      const { order: created } = await orders.createOrder(draft({ userId: buyer }));
      made.unshift(created?.id ?? "");
    }
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await orders.listOrders({ userId: buyer, pageSize: 10, pageToken });
      seen.push(...page.orders.map(({ id }) => id));
      pageToken = page.nextPageToken;
      await orders.createOrder(draft({ userId: buyer }));
    } while (pageToken !== "");
    expect(seen).toEqual(made);
  });

  test("filters by state and time; a token of another filter is refused", async () => {
    const buyer = randomUUID();
    catalogue.users.set(buyer, UserState.ACTIVE);
    const { order: first } = await orders.createOrder(draft({ userId: buyer }));
    role.clock.advance(1_000);
    const { order: second } = await orders.createOrder(draft({ userId: buyer }));
    await orders.cancelOrder({ id: first?.id ?? "", ...waitSettled });
    const ids = async (filter: object) =>
      (await orders.listOrders({ userId: buyer, ...filter })).orders.map(({ id }) => id);
    expect(await ids({ states: [OrderState.CANCELLED] })).toEqual([first?.id]);
    expect(await ids({ createdSince: second?.createdAt })).toEqual([second?.id]);
    expect(await ids({ createdBefore: second?.createdAt })).toEqual([first?.id]);
    const { nextPageToken: pageToken } = await orders.listOrders({ userId: buyer, pageSize: 1 });
    const foreign = await refusal(orders.listOrders({ userId, pageSize: 1, pageToken }));
    expect(foreign.details.fields?.map(({ field }) => field)).toEqual(["page_token"]);
  });
});

describe("CancelOrder", () => {
  test("is refused for a stale version and a state that is too late; doing it again changes nothing", async () => {
    const { order: created } = await orders.createOrder(draft());
    const id = created?.id ?? "";
    const stale = await refusal(orders.cancelOrder({ id, expectedVersion: 7 }));
    expect([stale.reason, stale.details.metadata]).toEqual(["VERSION_MISMATCH", { current_version: "1" }]);
    const { order: noted } = await orders.cancelOrder({ id, expectedVersion: 1 });
    expect(noted).toMatchObject({ state: OrderState.PENDING, cancelRequested: true, version: 2 });
    const { order: cancelled } = await orders.cancelOrder({ id, ...waitSettled });
    expect(cancelled).toMatchObject({ state: OrderState.CANCELLED, reason: "CANCEL_REQUESTED", version: 3 });
    expect(cancelled?.cancelRequested).toBe(false);
    expect((await orders.cancelOrder({ id })).order).toEqual(cancelled);
    expect((await orders.getOrder({ id })).order).toEqual(cancelled);
    expect((await refusal(orders.cancelOrder({ id: randomUUID() }))).kind).toBe("not_found");

    const { order: delivered } = await orders.createOrder(draft());
    const db = role.database<OrderTables>();
    await db
      .updateTable("orders")
      .set({ state: "DELIVERED" })
      .where("id", "=", delivered?.id ?? "")
      .execute();
    const late = await refusal(orders.cancelOrder({ id: delivered?.id ?? "" }));
    expect([late.kind, late.reason, late.details.metadata]).toEqual([
      "failed_precondition",
      "WRONG_STATE",
      { state: "DELIVERED" },
    ]);
  });

  test("of 20 at the same time one cancels, and the history has no gap", async () => {
    const { order: created } = await orders.createOrder(draft());
    const id = created?.id ?? "";
    await Promise.all(Array.from({ length: 20 }, () => orders.cancelOrder({ id, ...waitSettled })));
    const { events } = await orders.listOrderEvents({ id });
    expect(events.map(({ position }) => position)).toEqual(events.map((_, at) => BigInt(at + 1)));
    const steps = events.map(({ step }) => step);
    expect(steps.filter((step) => step === OrderStep.CANCEL_REQUESTED)).toHaveLength(1);
    expect(steps.filter((step) => step === OrderStep.CANCELLED)).toHaveLength(1);
    expect((await orders.getOrder({ id })).order?.version).toBe(3);
  });
});

describe("whose orders", () => {
  test("users reach their own, with the permission others', and learn nothing about the rest", async () => {
    const other = randomUUID();
    catalogue.users.set(other, UserState.ACTIVE);
    const as = (id: string, ...permissions: string[]) =>
      role.client(OrderService, { subject: { kind: "user", id, permissions } });
    const mine = as(userId);
    const { order: created } = await mine.createOrder({ items: [{ sku: "MUG", quantity: 1 }] });
    const id = created?.id ?? "";
    expect(created?.userId).toBe(userId);
    expect((await mine.listOrders({})).orders.map((listed) => listed.id)).toContain(id);

    const theirs = as(other);
    const refused = [
      await refusal(theirs.getOrder({ id })),
      await refusal(theirs.getOrder({ id: randomUUID() })),
      await refusal(theirs.listOrderEvents({ id })),
      await refusal(theirs.cancelOrder({ id })),
      await refusal(theirs.listOrders({ userId })),
      await refusal(theirs.createOrder(draft())),
      await refusal(theirs.watchOrder({ id })[Symbol.asyncIterator]().next()),
    ];
    expect(new Set(refused.map(({ reason, message }) => `${reason} ${message}`)).size).toBe(1);
    expect(refused[0]?.reason).toBe("ACCESS_DENIED");

    const support = as(other, "order.read");
    expect((await support.getOrder({ id })).order).toEqual(created);
    expect((await refusal(support.cancelOrder({ id }))).reason).toBe("ACCESS_DENIED");
    const { order: cancelled } = await as(other, "order.write").cancelOrder({ id, ...waitSettled });
    expect(cancelled?.state).toBe(OrderState.CANCELLED);
  });
});

describe("WatchOrder", () => {
  test("sees what another replica does, at once, and ends with a final event", async () => {
    const replica = (await role.replica()).client(OrderService);
    const { order: created } = await orders.createOrder(draft());
    const id = created?.id ?? "";
    const watch = replica.watchOrder({ id })[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ event: { position: 1n, state: OrderState.PENDING } });
    const next = watch.next();
    await orders.cancelOrder({ id });
    expect((await next).value).toMatchObject({ event: { position: 2n, step: OrderStep.CANCEL_REQUESTED } });
    const rest = [];
    for (let one = await watch.next(); !one.done; one = await watch.next()) rest.push(one.value.event?.step);
    expect(rest.at(-1)).toBe(OrderStep.CANCELLED);
  });

  test("an order that does not exist is not found, not waited for", async () => {
    const watch = orders.watchOrder({ id: randomUUID() })[Symbol.asyncIterator]();
    expect((await refusal(watch.next())).reason).toBe("NOT_FOUND");
  });

  test("a watcher that leaves frees what it held", async () => {
    const calls = still.client(OrderService);
    const { order: created } = await calls.createOrder(draft());
    const leave = new AbortController();
    const watch = calls.watchOrder({ id: created?.id ?? "" }, { signal: leave.signal })[Symbol.asyncIterator]();
    await watch.next();
    const next = watch.next();
    leave.abort();
    expect((await refusal(next)).kind).toBe("canceled");
    // A loop that went on would ask without pause.
    const asked = still.statements.length;
    const db = still.database<OrderTables>();
    for (let n = 0; n < 20; n += 1) await sql`select 1`.execute(db);
    expect(still.statements.length - asked).toBeLessThanOrEqual(22);
  });

  test("beyond the end of a finished order there is nothing to wait for", async () => {
    const { order: created } = await orders.createOrder(draft());
    const id = created?.id ?? "";
    await orders.cancelOrder({ id, ...waitSettled });
    const watch = orders.watchOrder({ id: id.toUpperCase(), afterPosition: 99n })[Symbol.asyncIterator]();
    expect((await watch.next()).done).toBe(true);
  });
});

describe("events", () => {
  const typesOf = async (id: string) =>
    (await eventsOf(role.database<never>(), OrderEventSchema, id)).map(({ type }) => type);
  const written = async () => {
    const { rows } = await sql<{ n: bigint }>`select count(*) as n from outbox`.execute(role.database());
    return Number(rows[0]?.n);
  };

  test("tell of an order as it was answered, under the trace of its call", async () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const answered = await orders.createOrder(draft(), { headers: { traceparent } });
    const [event] = await eventsOf(role.database<never>(), OrderEventSchema, answered.order?.id ?? "");
    expect(event).toMatchObject({ type: "order.placed", traceparent, event: { value: { order: answered.order } } });
  });

  test("are written once for a key, and not for what is refused", async () => {
    const before = await written();
    const request = draft({ idempotencyKey: randomUUID() });
    const answers = await Promise.all(Array.from({ length: 20 }, () => orders.createOrder(request)));
    await refusal(orders.createOrder(draft({ items: [{ sku: "NONE", quantity: 1 }] as never })));
    expect(await written()).toBe(before + 1);
    expect(await typesOf(answers[0]?.order?.id ?? "")).toEqual(["order.placed"]);
  });

  test("tell of a cancellation once", async () => {
    const { order: created } = await orders.createOrder(draft());
    const id = created?.id ?? "";
    for (let time = 0; time < 2; time += 1) await orders.cancelOrder({ id, ...waitSettled });
    expect(await typesOf(id)).toEqual(["order.placed", "order.cancelled"]);
  });

  test("are written for each order of a batch", async () => {
    const { results } = await orders.batchCreateOrders({ orders: [draft(), draft({ items: [] }), draft()] as never });
    const ids = results.flatMap(({ result }) => (result.case === "order" ? [result.value.id] : []));
    expect(ids).toHaveLength(2);
    for (const id of ids) expect(await typesOf(id)).toEqual(["order.placed"]);
  });
});

test("WatchOrder on one replica streams what another one does", async () => {
  const replica = (await role.replica()).client(OrderService);
  const { order: created } = await orders.createOrder(draft());
  const id = created?.id ?? "";
  const states: OrderState[] = [];
  for await (const { event } of replica.watchOrder({ id })) {
    states.push(event?.state ?? OrderState.UNSPECIFIED);
    if (states.length === 1) await orders.cancelOrder({ id });
  }
  expect(new Set(states)).toEqual(new Set([OrderState.PENDING, OrderState.CANCELLED]));
});
