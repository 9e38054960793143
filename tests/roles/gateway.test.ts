import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Kysely } from "kysely";
import { sql } from "kysely";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import type { ApiKey, AuditEntry } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { AuditPhase, GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { CreateOrdersRequestSchema, OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Identity, Subject } from "../../src/platform/call.ts";
import { errors } from "../../src/platform/errors.ts";
import { newId } from "../../src/platform/id.ts";
import type { RoleDefinition, RunningRole } from "../../src/platform/role.ts";
import { newSecret } from "../../src/roles/gateway/api-key-secret.ts";
import { chained, emptyChain } from "../../src/roles/gateway/audit-chain.ts";
import type { AuditRecord } from "../../src/roles/gateway/audit-chain.ts";
import gatewayRole from "../../src/roles/gateway/index.ts";
import type { GatewayTables } from "../../src/roles/gateway/schema.ts";
import { appendAudit } from "../../src/roles/gateway/store-audit.ts";
import { verifyAudit } from "../../src/roles/gateway/verify-audit.ts";
import { as } from "../support/accounts.ts";
import { outputOf, runNode } from "../support/commands.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { TestRole } from "../support/role.ts";
import { peer, present, refusal, startTestRole } from "../support/role.ts";

const admin: Subject = {
  kind: "user",
  id: newId(),
  permissions: ["apikey.read", "apikey.write", "audit.read", "product.write", "user.grant"],
};
const nobody: Subject = { kind: "anonymous" };
const customer: Subject = { kind: "user", id: newId(), permissions: [] };

const others = {
  user: { services: [UserService, AuthService] },
  product: { services: [ProductService] },
  order: { services: [OrderService] },
};

interface Gateway extends TestRole {
  /** The instances that were started, in order. */
  readonly instances: readonly RunningRole[];
  readonly db: Kysely<GatewayTables>;
  /** Who sends this secret; at a certain instance. */
  identify(secret: string, instance?: number): Promise<Identity>;
  /** Stored entries, oldest first. */
  entries(): Promise<AuditEntry[]>;
}

/** Called by forwarded methods before they answer. */
type Forwarded = (method: string) => Promise<void> | void;

/** A gateway in front of peers that answer whatever they are asked. */
async function startGateway(onForwarded: Forwarded = () => undefined): Promise<Gateway> {
  const instances: RunningRole[] = [];
  const definition: RoleDefinition = {
    config: {},
    async start(context) {
      const running = await gatewayRole.start({ ...context, others });
      instances.push(running);
      return running;
    },
  };
  const role = await startTestRole("gateway", definition, {
    edge: true,
    config: { RATE_LIMITS: "off", STREAMS_PER_CALLER: 20, CALLS_AT_ONCE: 1_000, CALLS_WAITING: 500 },
    peers: [
      peer(UserService, {
        async createUser() {
          await onForwarded("CreateUser");
          return { user: { id: newId() } };
        },
        async updateUser() {
          await onForwarded("UpdateUser");
          return {};
        },
        async getUser() {
          await onForwarded("GetUser");
          return {};
        },
      }),
      peer(AuthService, {
        async setUserRoles() {
          await onForwarded("SetUserRoles");
          return {};
        },
        async login() {
          await onForwarded("Login");
          return { accessToken: "an access token", refreshToken: "a refresh token" };
        },
      }),
      peer(ProductService, {
        async addProduct() {
          await onForwarded("AddProduct");
          return {};
        },
        async archiveProduct() {
          await onForwarded("ArchiveProduct");
          return {};
        },
      }),
      peer(OrderService, {
        async *createOrders(requests) {
          await onForwarded("CreateOrders");
          for await (const { sequence } of requests) if (sequence < 3) yield { sequence };
        },
      }),
    ],
  });
  const db = role.database<GatewayTables>();
  return Object.assign(role, {
    instances,
    db,
    identify: async (secret: string, instance = 0): Promise<Identity> => {
      const header = (name: string) => (name === "authorization" ? `Bearer ${secret}` : undefined);
      return present(await instances[instance]?.identify?.(header));
    },
    async entries() {
      const { entries } = await role.client(GatewayService, { subject: admin }).listAuditEntries({ pageSize: 500 });
      return entries.reverse();
    },
  });
}

let role: Gateway;

beforeAll(async () => {
  role = await startGateway();
});
afterAll(() => role[Symbol.asyncDispose]());

const gatewayOf = (of: Pick<TestRole, "client">, subject: Subject = admin) => of.client(GatewayService, { subject });
const reasonOf = async (call: Promise<unknown>) => (await refusal(call)).reason;
const refused = (reason: string) => expect.objectContaining({ reason }) as unknown;

async function createKey(permissions: string[] = ["product.write"], expiresAt?: Date) {
  const { apiKey, secret } = await gatewayOf(role).createApiKey({
    name: "a machine",
    permissions,
    ...(expiresAt && { expiresAt: timestampFromDate(expiresAt) }),
  });
  return { key: present(apiKey), secret };
}

describe("an API key", () => {
  test("is made, identifies a machine, and is listed without its secret", async () => {
    const { key, secret } = await createKey(["product.write", "audit.read"]);
    expect(secret).toMatch(/^cck_[0-9a-f]{32}_[\w-]{43}$/);
    expect(key).toMatchObject({
      name: "a machine",
      permissions: ["audit.read", "product.write"],
      createdBy: admin.id,
    } satisfies Partial<ApiKey>);
    expect(key.expiresAt).toBeUndefined();
    const { subject } = await role.identify(secret);
    expect(subject).toEqual({ kind: "machine", id: key.id, permissions: ["audit.read", "product.write"] });
    const { apiKeys } = await gatewayOf(role).listApiKeys({});
    expect(apiKeys[0]).toEqual(key);
  });

  test("its secret is nowhere in the database, its hash is", async () => {
    const { key, secret } = await createKey();
    await until(async () => (await role.entries()).some(({ method }) => method.endsWith("CreateApiKey")));
    const { rows } = await sql<{ content: string }>`
      select k::text || coalesce((select string_agg(e::text, '') from audit_entries e), '') as content from api_keys k
    `.execute(role.db);
    for (const { content } of rows) expect(content).not.toContain(secret.split("_").slice(2).join("_"));
    const { secret_hash } = await role.db
      .selectFrom("api_keys")
      .select("secret_hash")
      .where("id", "=", key.id)
      .executeTakeFirstOrThrow();
    expect(secret_hash.toString("hex")).toBe(createHash("sha256").update(secret).digest("hex"));
  });

  test("has no more permissions than who makes it, and a machine makes none", async () => {
    const limited: Subject = { kind: "user", id: newId(), permissions: ["apikey.write", "product.write"] };
    const make = (subject: Subject, permissions: string[]) =>
      gatewayOf(role, subject).createApiKey({ name: "x", permissions });
    await make(limited, ["product.write"]);
    expect(await reasonOf(make(limited, ["product.write", "user.grant"]))).toBe("ACCESS_DENIED");
    expect(await reasonOf(make(customer, ["product.write"]))).toBe("ACCESS_DENIED");
    expect(await reasonOf(make(nobody, ["product.write"]))).toBe("TOKEN_MISSING");
    const machine: Subject = { kind: "machine", id: newId(), permissions: ["apikey.write", "product.write"] };
    expect(await reasonOf(make(machine, ["product.write"]))).toBe("ACCESS_DENIED");
  });

  test("wrong requests name their fields", async () => {
    const fields = async (request: Parameters<ReturnType<typeof gatewayOf>["createApiKey"]>[0]) =>
      (await refusal(gatewayOf(role).createApiKey(request))).details.fields?.map(({ field }) => field);
    expect(await fields({ name: "", permissions: [] })).toEqual(["name", "permissions"]);
    expect(await fields({ name: "x", permissions: ["Not one"] })).toEqual(["permissions[0]"]);
    expect(await fields({ name: "x", permissions: ["product.write", "product.write"] })).toEqual(["permissions"]);
    const expiresAt = timestampFromDate(role.clock.now());
    expect(await fields({ name: "x", permissions: ["product.write"], expiresAt })).toEqual(["expires_at"]);
  });

  test("lets its machine do what it is for, and nothing else", async () => {
    const { secret } = await createKey(["product.write"]);
    const { subject } = await role.identify(secret);
    await role.client(ProductService, { subject }).addProduct({ title: "x", variants: [mug] });
    await role.client(UserService, { subject }).getUser({ id: newId() });
    const grant = role.client(AuthService, { subject }).setUserRoles({ userId: newId(), roles: [] });
    expect(await reasonOf(grant)).toBe("ACCESS_DENIED");
    expect(await reasonOf(gatewayOf(role, subject).listApiKeys({}))).toBe("ACCESS_DENIED");
  });

  test("only with its whole secret", async () => {
    const { secret } = await createKey();
    const wrong = [
      `${secret.slice(0, -2)}xx`,
      secret.slice(0, -1),
      `${secret}x`,
      secret.toUpperCase(),
      newSecret(newId()),
      "cck_",
      "cck_1_2",
      secret.replace("cck_", "cck_00"),
    ];
    for (const token of wrong) await expect(role.identify(token), token).rejects.toEqual(refused("TOKEN_INVALID"));
    expect((await role.identify(secret)).subject.kind).toBe("machine");
  });

  test("invented keys and wrong secrets do not cost a query each", async () => {
    const { secret } = await createKey();
    await role.identify(secret);
    const before = role.statements.length;
    const wrong = Array.from({ length: 300 }, (_, n) => `${secret.slice(0, -3)}${String(n).padStart(3, "0")}`);
    const invented = Array.from({ length: 1_000 }, () => newSecret(newId()));
    const outcomes = await Promise.allSettled(
      [...wrong, ...invented, ...invented].map((token) => role.identify(token)),
    );
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ status: "rejected", reason: refused("TOKEN_INVALID") });
    expect(role.statements.length - before).toBeLessThan(10);
  });

  test("that was revoked ends at once here, and within a second on every other process", async () => {
    await using gateway = await startGateway();
    await gateway.replica();
    const { apiKey, secret } = await gatewayOf(gateway).createApiKey({ name: "x", permissions: ["product.write"] });
    const told = vi.fn<() => void>();
    (await gateway.identify(secret, 1)).onRevoked?.(told);
    // In use on both, so that both know it well.
    for (let n = 0; n < 10; n += 1) {
      await Promise.all([gateway.identify(secret, 0), gateway.identify(secret, 1)]);
      await delay(60);
    }
    expect(told).not.toHaveBeenCalled();
    const revoked = await gatewayOf(gateway).revokeApiKey({ id: present(apiKey).id });
    const revokedAt = performance.now();
    await expect(gateway.identify(secret, 0)).rejects.toEqual(refused("TOKEN_INVALID"));
    const isRefused = () =>
      gateway.identify(secret, 1).then(
        () => false,
        () => true,
      );
    await until(isRefused, 1_000);
    await until(() => told.mock.calls.length === 1, Math.max(1, 1_000 - (performance.now() - revokedAt)));
    // Doing it again changes nothing.
    gateway.clock.advance(1_000);
    const again = await gatewayOf(gateway).revokeApiKey({ id: present(apiKey).id.toUpperCase() });
    expect(again).toEqual(revoked);
    expect(again.apiKey?.revokedAt).toBeDefined();
  });

  test("a key that nobody has cannot be revoked", async () => {
    expect(await reasonOf(gatewayOf(role).revokeApiKey({ id: newId() }))).toBe("NOT_FOUND");
    expect(await reasonOf(gatewayOf(role, customer).revokeApiKey({ id: newId() }))).toBe("ACCESS_DENIED");
  });

  test("ends at its time, streams with it", async () => {
    const end = new Date(role.clock.now().getTime() + 60_000);
    const { key, secret } = await createKey(["product.write"], end);
    expect(timestampDate(present(key.expiresAt))).toEqual(end);
    expect((await role.identify(secret)).expiresAt).toBe(end.getTime());
    role.clock.advance(59_999);
    await role.identify(secret);
    role.clock.advance(1);
    await expect(role.identify(secret)).rejects.toEqual(refused("TOKEN_EXPIRED"));
  });

  test("its last use is noted, off the way of the calls", async () => {
    await using gateway = await startGateway();
    const { secret } = await gatewayOf(gateway).createApiKey({ name: "x", permissions: ["product.write"] });
    await gateway.identify(secret);
    gateway.clock.advance(5_000);
    const before = gateway.statements.length;
    await gateway.identify(secret);
    expect(gateway.statements.length).toBe(before);
    await gateway.instances[0]?.close?.();
    const { last_used_at } = await gateway.db.selectFrom("api_keys").select("last_used_at").executeTakeFirstOrThrow();
    expect(last_used_at).toEqual(gateway.clock.now());
  });

  test("lists go on page by page, newest first", async () => {
    await using gateway = await startGateway();
    const ids: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      const { apiKey } = await gatewayOf(gateway).createApiKey({ name: String(n), permissions: ["product.write"] });
      ids.unshift(present(apiKey).id);
    }
    const first = await gatewayOf(gateway).listApiKeys({ pageSize: 3 });
    const second = await gatewayOf(gateway).listApiKeys({ pageSize: 3, pageToken: first.nextPageToken });
    expect([...first.apiKeys, ...second.apiKeys].map(({ id }) => id)).toEqual(ids);
    expect(second.nextPageToken).toBe("");
  });
});

const mug = { sku: "MUG", price: { currencyCode: "EUR", amountMinor: 1n } };

/** The short names, phases and results of entries. */
const told = (entries: readonly AuditEntry[]) =>
  entries.map(({ method, phase, code, reason }) =>
    [method.split("/")[1], phase === AuditPhase.INTENT ? "intent" : "outcome", code, reason]
      .filter((word) => word !== "")
      .join(" "),
  );

async function settle(gateway: Gateway, count: number): Promise<AuditEntry[]> {
  await until(async () => (await gateway.entries()).length >= count, 3_000);
  return gateway.entries();
}

describe("the audit log", () => {
  test("has every call that may change something, with its result, and no reads", async () => {
    await using gateway = await startGateway((method) => {
      if (method === "UpdateUser") throw errors.VERSION_MISMATCH();
      if (method === "ArchiveProduct") throw new Error("a defect");
    });
    const id = newId();
    const products = gateway.client(ProductService, { subject: admin });
    await gateway
      .client(UserService, { subject: nobody })
      .createUser({ email: "ada@example.com", displayName: "Ada", password: "secret123" });
    await gateway.client(AuthService, { subject: nobody }).login({ email: "ada@example.com", password: "secret123" });
    await gateway.client(UserService, { subject: customer }).getUser({ id: present(customer.id) });
    await refusal(gateway.client(UserService, { subject: customer }).updateUser({ id }));
    await products.addProduct({ title: "A title", variants: [mug] });
    await refusal(products.archiveProduct({ id }));
    await refusal(gateway.client(ProductService, { subject: customer }).addProduct({ title: "x", variants: [mug] }));
    await refusal(products.addProduct({ title: "", variants: [] }));
    await refusal(gateway.client(ProductService, { subject: nobody }).archiveProduct({ id }));
    await gateway.client(AuthService, { subject: admin }).setUserRoles({ userId: id, roles: [] });
    const entries = await settle(gateway, 12);
    expect(told(entries)).toEqual(
      [
        "CreateUser outcome ok",
        "Login outcome ok",
        "UpdateUser outcome aborted VERSION_MISMATCH",
        "AddProduct intent",
        "AddProduct outcome ok",
        "ArchiveProduct intent",
        "ArchiveProduct outcome internal INTERNAL",
        "AddProduct outcome permission_denied ACCESS_DENIED",
        "AddProduct outcome invalid_argument INVALID_REQUEST",
        "ArchiveProduct outcome unauthenticated TOKEN_MISSING",
        "SetUserRoles intent",
        "SetUserRoles outcome ok",
      ].slice(0, entries.length),
    );
    const subjects = ["", "", customer.id, admin.id, admin.id, admin.id, admin.id, customer.id, admin.id, "", admin.id];
    expect(entries.map(({ subject }) => subject).slice(0, 11)).toEqual(subjects);
    expect(entries[2]?.resourceIds).toEqual({ id });
    expect(entries[5]?.resourceIds).toEqual({ id });
    expect(entries[10]?.resourceIds).toEqual({ user_id: id });
    expect(entries[5]?.requestId).toBe(entries[6]?.requestId);
    expect(new Set(entries.map(({ requestId }) => requestId)).size).toBe(9);
    const { rows } = await sql<{ content: string }>`select e::text as content from audit_entries e`.execute(gateway.db);
    const all = rows.map(({ content }) => content).join("\n");
    for (const secret of ["ada@example.com", "Ada", "secret123", "A title", "MUG", "token"]) {
      expect(all).not.toContain(secret);
    }
  });

  test("of what a refused request holds in its ids nothing strange is kept", async () => {
    await using gateway = await startGateway();
    const products = gateway.client(ProductService, { subject: admin });
    for (const id of ["\0", "a\nb", "\ud800", "x".repeat(101), "é", ""]) await refusal(products.archiveProduct({ id }));
    await refusal(products.archiveProduct({ id: "not an id" }));
    const entries = await settle(gateway, 7);
    expect(entries.map(({ resourceIds }) => resourceIds)).toEqual([{}, {}, {}, {}, {}, {}, {}]);
  });

  test("what needs a permission is stored before it is forwarded", async () => {
    const seen: string[][] = [];
    await using gateway: Gateway = await startGateway(async (method) => {
      const rows = await gateway.db.selectFrom("audit_entries").select("phase").execute();
      seen.push([method, ...rows.map(({ phase }) => phase)]);
    });
    await gateway.client(ProductService, { subject: admin }).addProduct({ title: "x", variants: [mug] });
    await gateway.client(UserService, { subject: nobody }).createUser({ email: "ada@example.com" });
    expect(seen).toEqual([
      ["AddProduct", "intent"],
      ["CreateUser", "intent"],
    ]);
  });

  test("a stream is told at its beginning and at its end, with counts", async () => {
    await using gateway = await startGateway();
    async function* requests() {
      for (const sequence of [1, 2, 3]) {
        yield { sequence, order: { idempotencyKey: String(sequence), items: [{ sku: "MUG", quantity: 1 }] } };
      }
    }
    const answers = gateway.client(OrderService, { subject: customer }).createOrders(requests());
    for await (const answer of answers) expect(answer.sequence).toBeGreaterThan(0);
    const entries = await settle(gateway, 2);
    expect(told(entries)).toEqual(["CreateOrders intent", "CreateOrders outcome ok"]);
    expect(entries[1]).toMatchObject({ receivedMessages: 3n, sentMessages: 2n, subject: customer.id });
  });

  test("filters and pages", async () => {
    await using gateway = await startGateway();
    const users = gateway.client(UserService, { subject: nobody });
    for (let n = 0; n < 7; n += 1) {
      await users.createUser({ email: `u${String(n)}@example.com` });
      gateway.clock.advance(1_000);
    }
    await gateway.client(UserService, { subject: customer }).updateUser({ id: newId() });
    await settle(gateway, 8);
    const api = gatewayOf(gateway);
    const all = (await api.listAuditEntries({})).entries;
    expect(all.map(({ position }) => position)).toEqual([8n, 7n, 6n, 5n, 4n, 3n, 2n, 1n]);
    const positions = async (filter: Parameters<typeof api.listAuditEntries>[0]) =>
      (await api.listAuditEntries(filter)).entries.map(({ position }) => Number(position));
    expect(await positions({ subject: present(customer.id) })).toEqual([8]);
    expect(await positions({ method: "commerce.user.v1.UserService/UpdateUser" })).toEqual([8]);
    expect(await positions({ requestId: present(all[3]).requestId })).toEqual([5]);
    const since = present(present(all[5]).occurredAt);
    expect(await positions({ since })).toEqual([8, 7, 6, 5, 4, 3]);
    expect(await positions({ before: since })).toEqual([2, 1]);
    const method = "commerce.user.v1.UserService/CreateUser";
    const paged: bigint[] = [];
    let pageToken = "";
    do {
      const page = await api.listAuditEntries({ method, pageSize: 3, pageToken });
      paged.push(...page.entries.map(({ position }) => position));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(paged).toEqual([7n, 6n, 5n, 4n, 3n, 2n, 1n]);
    expect(await reasonOf(gatewayOf(gateway, customer).listAuditEntries({}))).toBe("ACCESS_DENIED");
  });

  test("200 calls at once on each of two processes: two chains without gaps", async () => {
    await using gateway = await startGateway();
    const replica = await gateway.replica();
    const call = (of: Pick<TestRole, "client">, n: number) =>
      n % 4 === 0
        ? of.client(ProductService, { subject: admin }).addProduct({ title: "x", variants: [mug] })
        : of.client(UserService, { subject: nobody }).createUser({ email: `u${String(n)}@example.com` });
    await Promise.all(Array.from({ length: 200 }, (_, n) => [call(gateway, n), call(replica, n)]).flat());
    await until(async () => (await verifyAudit(gateway.db)).entries === 500, 3_000);
    const { chains, broken } = await verifyAudit(gateway.db);
    expect(broken).toEqual([]);
    expect(chains.map(({ position }) => position)).toEqual([250n, 250n]);
  });

  test("nobody changes, deletes or forgets entries", async () => {
    await using gateway = await startGateway();
    await gateway.client(UserService, { subject: nobody }).createUser({ email: "ada@example.com" });
    await settle(gateway, 1);
    for (const statement of [
      "update audit_entries set subject = 'x'",
      "delete from audit_entries",
      "truncate audit_entries",
      "truncate audit_chains cascade",
      "delete from audit_chains",
      "update audit_chains set position = 0",
      "update audit_chains set hash = hash",
      "update audit_chains set position = position + 1, gateway = 'x'",
    ]) {
      await expect(sql.raw(statement).execute(gateway.db), statement).rejects.toThrow("append-only");
    }
    expect(await gateway.entries()).toHaveLength(1);
  });

  const tampering: readonly (readonly [string, string, { position: bigint } | { problem: string }])[] = [
    ["changes one", "update audit_entries set subject = 'x' where position = 3", { position: 3n }],
    ["changes ids", `update audit_entries set resource_ids = '{"id": "x"}' where position = 3`, { position: 3n }],
    [
      "changes a time",
      "update audit_entries set occurred_at = occurred_at + interval '1 ms' where position = 3",
      { position: 3n },
    ],
    ["deletes one", "delete from audit_entries where position = 3", { position: 3n }],
    ["deletes the last", "delete from audit_entries where position = 5", { position: 5n }],
    ["deletes all", "delete from audit_entries", { position: 1n }],
    [
      "puts one in",
      `insert into audit_entries select chain, 6, occurred_at, subject, method, request_id, client_address, phase, code,
       reason, resource_ids, received, sent, hash from audit_entries where position = 5`,
      { position: 6n },
    ],
    [
      "exchanges two",
      `update audit_entries set position = 100 where position = 3; update audit_entries set position = 3 where position = 4;
       update audit_entries set position = 4 where position = 100`,
      { position: 3n },
    ],
    ["forgets the chain", "delete from audit_chains", { problem: "is of an unknown chain" }],
    ["gives the chain to another", "update audit_chains set gateway = 'x'", { position: 1n }],
  ];

  test.each(tampering)("the verifier finds it where somebody %s", async (_what, statement, found) => {
    await using gateway = await startGateway();
    for (let n = 0; n < 5; n += 1)
      await gateway.client(UserService, { subject: nobody }).createUser({ email: "ada@example.com" });
    await settle(gateway, 5);
    expect((await verifyAudit(gateway.db)).broken).toEqual([]);
    await unprotect(gateway.db);
    for (const one of statement.split(";")) await sql.raw(one).execute(gateway.db);
    expect((await verifyAudit(gateway.db)).broken).toEqual([expect.objectContaining(found)]);
  });

  test("entries that are stored twice, as after a lost commit, are there once", async () => {
    await using gateway = await startGateway();
    const empty = emptyChain(newId(), "gateway");
    const record: AuditRecord = {
      occurred_at: new Date(),
      subject: 'a "quoted" \\ subject, {with} NULL',
      method: "m",
      request_id: "r",
      client_address: null,
      phase: "outcome",
      code: "ok",
      reason: null,
      resource_ids: { id: 'x"\\{}', user_id: "NULL" },
      received: 9_007_199_254_740_993n,
      sent: null,
    };
    const first = chained(empty, record);
    const second = chained(first, { ...record, phase: "intent", code: null });
    await appendAudit(gateway.db, empty, [first]);
    await appendAudit(gateway.db, empty, [first, second]);
    await appendAudit(gateway.db, empty, [first]);
    expect(await verifyAudit(gateway.db)).toMatchObject({ entries: 2, broken: [], chains: [{ position: 2n }] });
  });

  test("while the database is away calls go on, privileged ones do not, and nothing is lost", async () => {
    const forwarded: string[] = [];
    await using gateway = await startGateway((method) => void forwarded.push(method));
    const users = gateway.client(UserService, { subject: nobody });
    const products = gateway.client(ProductService, { subject: admin });
    await products.addProduct({ title: "x", variants: [mug] });
    const back = await takeAway(gateway.db);
    for (let n = 0; n < 50; n += 1) await users.createUser({ email: "ada@example.com" });
    expect(await reasonOf(products.addProduct({ title: "x", variants: [mug] }))).toBe("PEER_DOWN");
    expect(forwarded.filter((method) => method === "AddProduct")).toHaveLength(1);
    await back();
    await until(async () => (await gateway.entries().catch(() => [])).length === 54);
    expect(told((await gateway.entries()).slice(-2))).toEqual([
      "AddProduct intent",
      "AddProduct outcome unavailable PEER_DOWN",
    ]);
    await products.addProduct({ title: "x", variants: [mug] });
    await settle(gateway, 56);
    expect(await verifyAudit(gateway.db)).toMatchObject({ entries: 56, broken: [], chains: [{ position: 56n }] });
  });

  test("when 10,000 entries wait, calls are refused rather than lost; reads are not", async () => {
    const forwarded: string[] = [];
    await using gateway = await startGateway((method) => void forwarded.push(method));
    const users = gateway.client(UserService, { subject: nobody });
    const back = await takeAway(gateway.db);
    let full: unknown;
    for (let n = 0; n < 10_001 && full === undefined; n += 1) {
      full = await users.createUser({ email: "ada@example.com" }).then(
        () => undefined,
        (error: unknown) => error,
      );
    }
    expect(await reasonOf(Promise.reject(full as Error))).toBe("OVERLOADED");
    expect(forwarded).toHaveLength(10_000);
    await gateway.client(UserService, { subject: customer }).getUser({ id: present(customer.id) });
    await back();
    await until(
      async () => (await users.createUser({ email: "ada@example.com" }).catch(() => undefined)) !== undefined,
    );
    await until(async () => (await verifyAudit(gateway.db)).entries === 10_001);
    expect((await verifyAudit(gateway.db)).broken).toEqual([]);
  });

  test("what has ended when the process stops is stored", async () => {
    await using gateway = await startGateway();
    await Promise.all(
      Array.from({ length: 700 }, () =>
        gateway.client(UserService, { subject: nobody }).createUser({ email: "a@b.example" }),
      ),
    );
    await gateway.instances[0]?.close?.();
    expect(await verifyAudit(gateway.db)).toMatchObject({ entries: 700, broken: [] });
  });
});

/** Lets a tamperer in: whoever owns the tables can. */
async function unprotect(db: Kysely<GatewayTables>): Promise<void> {
  await sql`alter table audit_entries disable trigger all`.execute(db);
  await sql`alter table audit_chains disable trigger all`.execute(db);
}

/** Takes the database away from everybody; answers how to bring it back. */
async function takeAway(db: Kysely<GatewayTables>): Promise<() => Promise<void>> {
  const { rows } = await sql<{ name: string }>`select current_database() as name`.execute(db);
  const name = present(rows[0]).name;
  const rename = async (from: string, to: string) => {
    const client = new Client({ connectionString: inject("postgresUrl") });
    await client.connect();
    try {
      await client.query(`alter database ${from} with allow_connections false`);
      await client.query("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1", [from]);
      await client.query(`alter database ${from} rename to ${to}`);
      await client.query(`alter database ${to} with allow_connections true`);
    } finally {
      await client.end();
    }
  };
  await rename(name, `${name}_away`);
  return () => rename(`${name}_away`, name);
}

describe("in a whole shop", () => {
  let shop: Installation;
  let database: Client;
  let id: string;
  let secret: string;
  beforeAll(async () => {
    shop = await startInstallation("a process per role", { LOG_LEVEL: "trace" });
    database = new Client({ connectionString: present(shop.databases["gateway"]).url });
    await database.connect();
    const transport = createConnectTransport({ baseUrl: shop.url, httpVersion: "2", interceptors: [as(shop.url)] });
    const made = await createClient(GatewayService, transport).createApiKey({
      name: "a machine",
      permissions: ["product.write"],
    });
    id = present(made.apiKey).id;
    secret = made.secret;
  });
  afterAll(async () => {
    await database.end();
    await shop[Symbol.asyncDispose]();
  });

  function call(method: string, body: object, token = secret): Promise<Response> {
    return fetch(`${shop.url}/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    });
  }
  const addProduct = (sku: string) =>
    call("commerce.product.v1.ProductService/AddProduct", {
      title: sku,
      variants: [{ sku, price: { currencyCode: "EUR", amountMinor: "100" } }],
    });
  async function entriesOf(response: Response) {
    const { rows } = await database.query<{ phase: string; subject: string; client_address: string; code: string }>(
      "select * from audit_entries where request_id = $1 order by position",
      [response.headers.get("x-request-id")],
    );
    return rows;
  }

  test("a machine calls with its key, and it is recorded with who and from where", async () => {
    const response = await addProduct("FIRST");
    expect(await response.json()).toMatchObject({ product: { title: "FIRST" } });
    await until(async () => (await entriesOf(response)).length === 2, 1_000);
    const by = { subject: `key:${id}`, client_address: "127.0.0.1" };
    expect(await entriesOf(response)).toMatchObject([
      { ...by, phase: "intent" },
      { ...by, phase: "outcome", code: "ok" },
    ]);
    const denied = await call("commerce.gateway.v1.GatewayService/ListApiKeys", {});
    expect(denied.status).toBe(403);
    const invented = await call("commerce.gateway.v1.GatewayService/ListApiKeys", {}, newSecret(newId()));
    expect(invented.status).toBe(401);
  });

  test("what ended 700 ms before the gateway is killed is stored, and so is the intent of what did not", async () => {
    const user = await call("commerce.user.v1.UserService/CreateUser", { email: "killed@example.com" });
    expect(user.status).toBe(200);
    await delay(700);
    const last = await addProduct("LAST");
    shop.processes["gateway"]?.kill("SIGKILL");
    await shop.processes["gateway"]?.exited;
    expect(await entriesOf(user)).toMatchObject([{ phase: "outcome", code: "ok" }]);
    expect((await entriesOf(last))[0]).toMatchObject({ phase: "intent" });
    await shop.start("gateway");
    expect((await addProduct("AFTER")).status).toBe(200);
  });

  test("the command verifies the chains, and names what is broken", async () => {
    const url = present(shop.databases["gateway"]).url;
    const verify = () => runNode("src/commands/verify-audit.ts", ["--database", url]);
    expect(outputOf(await verify())).toContain("in 2 chains: none is broken.");
    await database.query("alter table audit_entries disable trigger all");
    const { rows } = await database.query<{ chain: string; position: string }>(
      "update audit_entries set subject = 'x' where method like '%CreateUser' returning chain, position",
    );
    const after = await verify();
    expect(after.code).toBe(1);
    const first = present(rows[0]);
    expect(after.stderr).toContain(`BROKEN: chain ${first.chain}: entry ${first.position} was changed`);
  });

  test("a stream of the machine ends when its key is revoked", async () => {
    const transport = createConnectTransport({ baseUrl: shop.url, httpVersion: "2" });
    const orders = createClient(OrderService, transport);
    const headers = { authorization: `Bearer ${secret}` };
    const revoked = Promise.withResolvers<void>();
    async function* requests() {
      yield create(CreateOrdersRequestSchema, { sequence: 1 });
      await revoked.promise;
      await delay(60_000, undefined, { ref: false });
    }
    const answers = orders.createOrders(requests(), { headers })[Symbol.asyncIterator]();
    // The first order is rejected by itself; the stream lives.
    expect((await answers.next()).value).toMatchObject({ sequence: 1, result: { case: "error" } });
    await database.query("update api_keys set revoked_at = now() where id = $1", [id]);
    const revokedAt = performance.now();
    await expect(answers.next()).rejects.toMatchObject({ code: Code.Unauthenticated });
    expect(performance.now() - revokedAt).toBeLessThan(1_000);
    expect((await addProduct("TOO-LATE")).status).toBe(401);
  });

  test("the key's secret is in no log", () => {
    const log = Object.values(shop.processes)
      .map((server) => server.output())
      .join("\n");
    expect(log).toContain(`key:${id}`);
    expect(log).not.toContain(secret.split("_").slice(2).join("_"));
  });
});
