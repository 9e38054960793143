import type { KeyObject } from "node:crypto";
import { copyFile, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { DescMethod } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderService, OrderState, WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { createAssertions } from "../../src/platform/assertion.ts";
import { derivedKeys, keysIn } from "../../src/platform/assertion-keys.ts";
import type { Subject } from "../../src/platform/call.ts";
import { anonymous } from "../../src/platform/call.ts";
import { newId } from "../../src/platform/id.ts";
import type { Registry } from "../../src/platform/role.ts";
import { wireRegistry } from "../../src/platform/wire.ts";
import { permissionsOf } from "../../src/roles/user/permission.ts";
import { registry } from "../../src/roles/registry.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import type { AnyRequest } from "../support/attempt.ts";
import { attempt } from "../support/attempt.ts";
import { outputOf, runNode } from "../support/commands.ts";
import { addStocked } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import { makeFolder } from "../support/folders.ts";
import type { Folder } from "../support/folders.ts";
import type { Installation } from "../support/installation.ts";
import { secret, startInstallation, topologies } from "../support/installation.ts";
import { launchProcess } from "../support/process.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";

const roles: Registry = registry;
const names = Object.keys(roles);
const keys = derivedKeys(secret);
const honest = (role: string) => createAssertions(role, { keys, roles });

const admin: Subject = { kind: "user", id: newId(), permissions: permissionsOf(["admin"]) };
const customer: Subject = { kind: "user", id: newId(), permissions: [] };
const orderItself: Subject = { kind: "service", role: "order" };

const { batchGetUsers, listUsers, getUser, deactivateUser, createUser, getProfile } = UserService.method;
const { setUserRoles, listSigningKeys, watchRevocations } = AuthService.method;
const someId = newId();

/** What an assertion is to say; an honest one by `order` for `user` where nothing is said. */
interface Forgery {
  readonly issuer?: string;
  readonly audience?: string;
  readonly subject?: Subject;
  readonly outside?: unknown;
  /** The role whose key signs; the issuer's own where nothing is said. */
  readonly keyOf?: string;
  readonly key?: KeyObject | Uint8Array;
  readonly alg?: string;
  readonly typ?: string;
  /** Seconds from now. */
  readonly issuedIn?: number;
  /** Seconds from now. */
  readonly expiresIn?: number;
}

function forge({ issuer = "order", audience = "user", subject = orderItself, ...odd }: Forgery): Promise<string> {
  const now = Math.floor(Date.now() / 1_000);
  return new SignJWT({ subject, outside: odd.outside ?? false })
    .setProtectedHeader({ alg: odd.alg ?? "EdDSA", typ: odd.typ ?? "commerce-assertion+jwt" })
    .setIssuer(issuer)
    .setAudience(audience)
    .setIssuedAt(now + (odd.issuedIn ?? 0))
    .setExpirationTime(now + (odd.expiresIn ?? 60))
    .sign(odd.key ?? keys.privateKey(odd.keyOf ?? issuer));
}

interface Row {
  readonly what: string;
  /** The header, if there is one. */
  readonly assertion?: () => Promise<string> | string;
  readonly method: DescMethod;
  readonly request: AnyRequest & object;
  readonly reason: "TOKEN_MISSING" | "TOKEN_INVALID" | "ACCESS_DENIED";
}

const asks = { method: batchGetUsers, request: { ids: [someId] } };
const bars = { method: deactivateUser, request: { id: someId } };

/** What the port of the user role refuses. */
const rows: readonly Row[] = [
  { what: "a call without an assertion", ...asks, reason: "TOKEN_MISSING" },
  {
    what: "a call without an assertion to what anybody may call",
    method: createUser,
    request: { email: "direct@tests.example" },
    reason: "TOKEN_MISSING",
  },
  { what: "an assertion that is none", assertion: () => "nonsense", ...asks, reason: "TOKEN_INVALID" },
  {
    what: "one by the key of another role",
    assertion: () => forge({ keyOf: "product" }),
    ...asks,
    reason: "TOKEN_INVALID",
  },
  { what: "one for another role", assertion: () => forge({ audience: "product" }), ...asks, reason: "TOKEN_INVALID" },
  {
    what: "one that has expired",
    assertion: () => forge({ issuedIn: -120, expiresIn: -60 }),
    ...asks,
    reason: "TOKEN_INVALID",
  },
  {
    what: "an old one that says it has not expired",
    assertion: () => forge({ issuedIn: -120, expiresIn: 600 }),
    ...asks,
    reason: "TOKEN_INVALID",
  },
  { what: "one of another type", assertion: () => forge({ typ: "JWT" }), ...asks, reason: "TOKEN_INVALID" },
  {
    what: "one signed with the public key as a secret",
    assertion: () => forge({ alg: "HS256", key: keys.publicKey("order").export({ format: "der", type: "spki" }) }),
    ...asks,
    reason: "TOKEN_INVALID",
  },
  {
    what: "one without a signature",
    assertion: async () => {
      const none = Buffer.from('{"alg":"none","typ":"commerce-assertion+jwt"}').toString("base64url");
      return `${none}.${(await forge({})).split(".")[1] ?? ""}.`;
    },
    ...asks,
    reason: "TOKEN_INVALID",
  },
  ...["marketing", "constructor", "__proto__", ""].map(
    (issuer): Row => ({
      what: `one of a role ${JSON.stringify(issuer)}, which there is not`,
      assertion: () => forge({ issuer, keyOf: "order" }),
      ...asks,
      reason: "TOKEN_INVALID",
    }),
  ),
  {
    what: "order at a method that names no callers",
    assertion: () => forge({}),
    method: getUser,
    request: { id: someId },
    reason: "ACCESS_DENIED",
  },
  {
    what: "order at a method for the gateway",
    assertion: () => forge({}),
    method: listSigningKeys,
    request: {},
    reason: "ACCESS_DENIED",
  },
  {
    what: "order at a stream for the gateway",
    assertion: () => forge({}),
    method: watchRevocations,
    request: {},
    reason: "ACCESS_DENIED",
  },
  {
    what: "order for an admin",
    assertion: () => forge({ subject: admin }),
    ...bars,
    reason: "ACCESS_DENIED",
  },
  {
    what: "order that passes on the call of an admin",
    assertion: () => forge({ subject: admin, outside: true }),
    ...bars,
    reason: "TOKEN_INVALID",
  },
  ...[0, "false", ""].map(
    (outside): Row => ({
      what: `order with outside: ${JSON.stringify(outside)}`,
      assertion: () => forge({ subject: admin, outside }),
      ...bars,
      reason: "TOKEN_INVALID",
    }),
  ),
  {
    what: "order that calls itself the gateway",
    assertion: () => forge({ issuer: "gateway", keyOf: "order", subject: admin, outside: true }),
    method: setUserRoles,
    request: { userId: someId, roles: [2] },
    reason: "TOKEN_INVALID",
  },
  {
    what: "the gateway on its own behalf at a method that does not name it",
    assertion: () => honest("gateway").sign("user", admin, false),
    method: listUsers,
    request: {},
    reason: "ACCESS_DENIED",
  },
  {
    what: "the gateway that passes on a call of nobody",
    assertion: () => honest("gateway").sign("user", anonymous, true),
    method: listUsers,
    request: {},
    reason: "TOKEN_MISSING",
  },
  {
    what: "the gateway that passes on a call of a customer",
    assertion: () => honest("gateway").sign("user", customer, true),
    method: listUsers,
    request: {},
    reason: "ACCESS_DENIED",
  },
  {
    what: "the gateway that passes on a call to a method for roles",
    assertion: () => honest("gateway").sign("user", admin, true),
    ...asks,
    reason: "ACCESS_DENIED",
  },
];

const json = { useBinaryFormat: false, jsonOptions: { registry: wireRegistry } };
const forms: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
  "Connect JSON": (baseUrl) => createConnectTransport({ ...json, baseUrl, httpVersion: "2" }),
};

const codes = { TOKEN_MISSING: "Unauthenticated", TOKEN_INVALID: "Unauthenticated", ACCESS_DENIED: "PermissionDenied" };
const header = (assertion: string) => ({ "x-commerce-assertion": assertion });

function portOf(shop: Installation, role: string): string {
  return `http://127.0.0.1:${String(shop.processes[role]?.ports[role])}`;
}

describe.each(Object.keys(forms))("a role that is called at its own port, over %s", (form) => {
  let shop: Installation;
  let transport: Transport;
  beforeAll(async () => {
    shop = await startInstallation("a process per role");
    transport = present(forms[form])(portOf(shop, "user"));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test.each(rows)("refuses $what, and logs one line", async ({ assertion, method, request, reason }) => {
    const headers = assertion ? header(await assertion()) : {};
    const outcome = await attempt(transport, method, request, headers);
    expect(outcome).toMatchObject({ code: codes[reason], reason });
    const id = new Headers(outcome.metadata.map(([name, value]) => [name, value])).get("x-request-id");
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    const log = present(shop.processes["user"]).log;
    const lines = () => log.filter(({ requestId }) => requestId === id);
    await until(() => lines().length > 0);
    expect(lines()).toMatchObject([
      { reason, method: `${method.parent.typeName}/${method.name}`, role: "user", code: snake(codes[reason]) },
    ]);
  });

  test("answers the roles that the method names, and the gateway for an admin", async () => {
    const asked = await attempt(transport, batchGetUsers, { ids: [someId] }, header(await forge({})));
    expect(asked).toMatchObject({ code: "Ok", response: { absentIds: [someId] } });
    const passedOn = await honest("gateway").sign("user", admin, true);
    expect(await attempt(transport, listUsers, { pageSize: 1 }, header(passedOn))).toMatchObject({ code: "Ok" });
    const watched = await honest("gateway").sign("user", { kind: "service", role: "gateway" }, false);
    expect(await attempt(transport, watchRevocations, {}, header(watched))).toMatchObject({ code: "Ok" });
  });

  test("an access token is no assertion, wherever it stands", async () => {
    const token = await tokenOf(shop.url);
    const asAssertion = await attempt(transport, listUsers, {}, header(token));
    expect(asAssertion.reason).toBe("TOKEN_INVALID");
    const asToken = await attempt(transport, listUsers, {}, { authorization: `Bearer ${token}` });
    expect(asToken.reason).toBe("TOKEN_MISSING");
  });

  test.each(["product", "order"])("the port of %s is as closed", async (role) => {
    const other = present(forms[form])(portOf(shop, role));
    const method = role === "product" ? ProductService.method.archiveProduct : OrderService.method.cancelOrder;
    const try_ = async (assertion?: string) =>
      (await attempt(other, method, { id: someId }, assertion === undefined ? {} : header(assertion))).reason;
    expect(await try_()).toBe("TOKEN_MISSING");
    expect(await try_(await honest("gateway").sign("user", admin, true))).toBe("TOKEN_INVALID");
    expect(await try_(await forge({ audience: role, subject: admin, outside: true }))).toBe("TOKEN_INVALID");
    const self = await forge({ issuer: "user", audience: role, subject: { kind: "service", role: "user" } });
    expect(await try_(self)).toBe("ACCESS_DENIED");
  });
});

describe.each(topologies)("the gateway in %s", (topology) => {
  let shop: Installation;
  let token: string;
  beforeAll(async () => {
    shop = await startInstallation(topology);
    const account = { email: "customer@tests.example", password: "a password of a customer" };
    await createAccount(shop.url, account, "");
    token = await tokenOf(shop.url, account);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  test.each(Object.keys(forms))("does not hear what roles assert, over %s", async (form) => {
    const transport = present(forms[form])(shop.url);
    const made = await Promise.all([
      ...["gateway", "user", "order", "product"].map((audience) => honest("gateway").sign(audience, admin, true)),
      ...["gateway", "user"].map((audience) => forge({ audience, subject: admin })),
      ...["gateway", "user"].map((audience) => forge({ audience, subject: admin, outside: true })),
    ]);
    for (const assertion of [...made, "nonsense"]) {
      const said = header(assertion);
      const known = { ...said, authorization: `Bearer ${token}` };
      const outcomes = await Promise.all([
        attempt(transport, getProfile, {}, said),
        attempt(transport, setUserRoles, { userId: someId, roles: [2] }, said),
        attempt(transport, setUserRoles, { userId: someId, roles: [2] }, known),
        attempt(transport, batchGetUsers, { ids: [someId] }, said),
        attempt(transport, listSigningKeys, {}, known),
        attempt(transport, ProductService.method.queryProducts, { pageSize: 1 }, said),
        attempt(transport, getProfile, {}, known),
      ]);
      expect(outcomes.map(({ reason }) => reason)).toEqual([
        "TOKEN_MISSING",
        "TOKEN_MISSING",
        "ACCESS_DENIED",
        "UNSUPPORTED_METHOD",
        "UNSUPPORTED_METHOD",
        "",
        "",
      ]);
      expect(outcomes.at(-1)?.response).toMatchObject({ permissions: [] });
    }
  });
});

describe("an installation whose roles have each a key of its own", () => {
  let folder: Folder;
  let shop: Installation;
  const folderOf = (role: string) => join(folder.path, role);

  beforeAll(async () => {
    folder = await makeFolder();
    const all = join(folder.path, "all");
    outputOf(await runNode("src/commands/keys.ts", [all]));
    for (const role of names) {
      await mkdir(folderOf(role));
      await copyFile(join(all, `${role}.key`), join(folderOf(role), `${role}.key`));
      for (const other of names) await copyFile(join(all, `${other}.pub`), join(folderOf(role), `${other}.pub`));
    }
    shop = await startInstallation("a process per role", (role) =>
      role === "all" ? {} : { KEYS_DIR: folderOf(role) },
    );
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  test("only its owner reads a private key", async () => {
    for (const role of names) {
      expect((await stat(join(folder.path, "all", `${role}.key`))).mode & 0o777).toBe(0o600);
    }
  });

  test("works from end to end", async () => {
    const clients = clientsOf(protocols.gRPC(shop.url));
    const sku = await addStocked(clients, { main: 2 });
    const waitFor = WaitFor.SETTLED;
    const { order } = await clients.orders.createOrder({ items: [{ sku, quantity: 2 }], waitFor });
    expect(order).toMatchObject({ state: OrderState.CONFIRMED });
    expect((await clients.orders.getOrder({ id: order?.id ?? "" })).order).toEqual(order);
  });

  test("who has the key of one role speaks for no other, also with the secret that all share", async () => {
    const own = keysIn(folderOf("order"), ["order"], names);
    const transport = createGrpcTransport({ baseUrl: portOf(shop, "user") });
    const reasonOf = async (assertion: string, method: DescMethod, request: AnyRequest & object) =>
      (await attempt(transport, method, request, header(assertion))).reason;
    const order = createAssertions("order", { keys: own, roles });
    const [asOrder, asGateway] = [await order.sign("user", orderItself, false), { subject: admin, outside: true }];
    expect(await reasonOf(asOrder, batchGetUsers, { ids: [someId] })).toBe("");
    expect(await reasonOf(asOrder, listSigningKeys, {})).toBe("ACCESS_DENIED");

    expect(() => own.privateKey("gateway")).toThrow("there is no key of the role gateway");
    const gateway = createAssertions("gateway", { keys: own, roles });
    await expect(gateway.sign("user", admin, true)).rejects.toThrow("there is no key of the role gateway");
    const forged = await forge({ issuer: "gateway", ...asGateway, key: own.privateKey("order") });
    expect(await reasonOf(forged, listUsers, {})).toBe("TOKEN_INVALID");
    // By the key that would follow from the secret.
    expect(await reasonOf(await forge({ issuer: "gateway", ...asGateway }), listUsers, {})).toBe("TOKEN_INVALID");
    expect(await reasonOf(await forge({}), batchGetUsers, { ids: [someId] })).toBe("TOKEN_INVALID");
  });

  test("a role without its key does not start", async () => {
    const env = { ROLE: "user", TOKEN_SECRET: secret, KEYS_DIR: folderOf("order"), PORT: "0" };
    const url = shop.databases["user"]?.url ?? "";
    await using launched = launchProcess({ ...env, USER_DATABASE_URL: url, BUS_URL: "amqp://127.0.0.1" });
    expect(await launched.exited).toBe(1);
    expect(launched.output()).toContain("user.key");
  });
});

function snake(name: string): string {
  return name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase();
}
