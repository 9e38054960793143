import { randomBytes } from "node:crypto";
import type { DescField, DescMessage, DescMethod } from "@bufbuild/protobuf";
import { create, toJson } from "@bufbuild/protobuf";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { file_commerce_common_v1_dead_letter } from "#gen/commerce/common/v1/dead_letter_pb.ts";
import { file_commerce_common_v1_event } from "#gen/commerce/common/v1/event_pb.ts";
import { file_commerce_inventory_v1_events } from "#gen/commerce/inventory/v1/events_pb.ts";
import { InventoryService, file_commerce_inventory_v1_inventory } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { file_commerce_payment_v1_events } from "#gen/commerce/payment/v1/events_pb.ts";
import { PaymentService, file_commerce_payment_v1_payment } from "#gen/commerce/payment/v1/payment_pb.ts";
import { file_commerce_notification_v1_notification } from "#gen/commerce/notification/v1/notification_pb.ts";
import { file_commerce_order_v1_events } from "#gen/commerce/order/v1/events_pb.ts";
import { file_commerce_product_v1_events } from "#gen/commerce/product/v1/events_pb.ts";
import { file_commerce_user_v1_events } from "#gen/commerce/user/v1/events_pb.ts";
import { file_commerce_common_v1_address } from "#gen/commerce/common/v1/address_pb.ts";
import { GatewayService, file_commerce_gateway_v1_gateway } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { OrderService, WaitFor, file_commerce_order_v1_order } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService, file_commerce_product_v1_product } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService, file_commerce_user_v1_auth } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService, file_commerce_user_v1_user } from "#gen/commerce/user/v1/user_pb.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import type { RoleEntry } from "../../src/platform/role.ts";
import { registry } from "../../src/roles/registry.ts";
import { tokenOf } from "../support/accounts.ts";
import type { AnyRequest } from "../support/attempt.ts";
import { attempt } from "../support/attempt.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { protocols } from "../support/protocols.ts";
import { toRawRest } from "../support/rest.ts";

const { createUser, updateUser, updateProfile, addAddress, updateAddress, listUsers, getProfile } = UserService.method;
const { login, refresh, changePassword, startOpenIdLogin, finishOpenIdLogin } = AuthService.method;
const { createOrder, createOrders, batchCreateOrders } = OrderService.method;
const { createApiKey } = GatewayService.method;
const { addProduct } = ProductService.method;
const { adjustStock } = InventoryService.method;
const { savePaymentMethod } = PaymentService.method;

/** A value that is recognized wherever it turns up; letters and digits only, which no JSON and no URL escapes. */
interface Marker {
  readonly kind: string;
  readonly text: string;
}

/** What is sent, and in which tables it may be: nowhere where nothing is said. */
const places = {
  password: [],
  "new password": [],
  "wrong password": [],
  "refresh token": [],
  "access token": [],
  "API key": [],
  email: ["user.users", "notification.deliveries"],
  "new email": ["user.users", "notification.deliveries"],
  "unknown email": [],
  "display name": ["user.users"],
  "name of an address": ["user.addresses", "order.orders"],
  "line of an address": ["user.addresses", "order.orders"],
  "city of an address": ["user.addresses", "order.orders"],
  "region of an address": ["user.addresses", "order.orders"],
  "postal code": ["user.addresses", "order.orders"],
  phone: ["user.addresses", "order.orders"],
  "payment method": ["order.orders", "payment.payments"],
  // No provider knows it, so nobody keeps it.
  "saved payment method": [],
} as const satisfies Readonly<Record<string, readonly string[]>>;
type Kind = keyof typeof places;

/**
 * Answers are kept for a week for the sake of replays, with what they say of a person: the email and the name of a
 * user, the addresses of an order. No secret is in an answer that is kept.
 */
const ANSWERS = ["user.idempotency_keys", "order.idempotency_keys"];
/**
 * Events are kept for a week where they were written and where they were applied, and on the bus until then. They tell
 * of persons what the role that emits them stores itself; no secret is in them.
 */
const EVENTS = ["user.outbox", "order.outbox", "notification.inbox"];
const secrets: readonly string[] = [
  "password",
  "new password",
  "wrong password",
  "refresh token",
  "access token",
  "API key",
];

const newMarker = (kind: string): Marker => ({ kind, text: `c${randomBytes(7).toString("hex")}y` });

/** Each form in which a text could be written down. */
function formsOf({ text }: Marker): string[] {
  const bytes = Buffer.from(text);
  // In base64 a text looks three ways, by what stands before it; its edges mix with what is around it.
  const base64 = [0, 1, 2].map((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString("base64")
      .replaceAll("=", "");
    return encoded.slice(before === 0 ? 0 : before + 1, -1);
  });
  return [
    text,
    bytes.toString("hex"),
    ...base64,
    ...base64.map((form) => form.replaceAll("+", "-").replaceAll("/", "_")),
  ];
}

function isIn(marker: Marker, text: string): boolean {
  return formsOf(marker).some((form) => text.toLowerCase().includes(form.toLowerCase()));
}

/** An answer that refuses, as it came: headers and body. */
interface Refusal {
  readonly what: string;
  readonly text: string;
}

describe.each(topologies)("secrets and persons in %s", (topology) => {
  let shop: Installation;
  const markers = Object.fromEntries(Object.keys(places).map((kind) => [kind, newMarker(kind)])) as Record<
    Kind,
    Marker
  >;
  const m = (kind: Kind) => markers[kind].text;
  /** What the shop itself made in answers: tokens and secrets. */
  const made: Marker[] = [];
  const refusals: Refusal[] = [];
  let sent = 0;

  const address = {
    name: m("name of an address"),
    lines: [m("line of an address")],
    city: m("city of an address"),
    region: m("region of an address"),
    postalCode: m("postal code"),
    countryCode: "DE",
    phone: m("phone"),
  };
  const email = `${m("email")}@tests.example`;
  const newEmail = `${m("new email")}@tests.example`;

  const pathOf = ({ parent, name }: DescMethod) => `/${parent.typeName}/${name}`;

  /** Sends a body as it is, and keeps the answer where it refuses. */
  async function post(method: DescMethod, body: string | Uint8Array, headers: Record<string, string> = {}) {
    const isStream = method.methodKind !== "unary";
    const response = await fetch(shop.url + pathOf(method), {
      method: "POST",
      headers: { "content-type": isStream ? "application/connect+json" : "application/json", ...headers },
      body: body as string,
    });
    sent += 1;
    const text = await response.text();
    if (response.status !== 200) {
      refusals.push({ what: `${method.name} ${String(response.status)}`, text: `${told(response.headers)}\n${text}` });
    }
    return { status: response.status, json: response.status === 200 ? (JSON.parse(text) as Answer) : {} };
  }

  /** Sends a body as it is over REST, or in the address where the method takes none, and keeps the answer. */
  async function rest(method: DescMethod, body: string, headers: Record<string, string>) {
    const request = toRawRest(method, Buffer.from(body));
    if (!request) return;
    const { verb, path, body: bytes } = request;
    // As the name of a parameter, which is told to who sent it; what counts is the log.
    if (bytes.length === 0) await fetch(shop.url + path, { method: verb, headers }).then((answer) => answer.text());
    else
      await keep(`${verb} ${path.replace(/\?.*/, "")}`, path, {
        method: verb,
        headers: { "content-type": "application/json", ...headers },
        body: Buffer.from(bytes),
      });
  }

  /** Asks for an address, and keeps what answers it: a refusal, or a page. */
  async function keep(what: string, path: string, init: RequestInit = {}) {
    const response = await fetch(shop.url + path, init);
    sent += 1;
    const text = await response.text();
    const isForCaller = response.ok && path.startsWith("/api/");
    if (!isForCaller) refusals.push({ what, text: `${told(response.headers)}\n${text}` });
  }

  /** Makes a call over gRPC, and keeps what refuses it. */
  async function grpc(method: DescMethod, request: AnyRequest, headers: Record<string, string> = {}) {
    const outcome = await attempt(protocols.gRPC(shop.url, "nobody"), method, request, headers);
    sent += 1;
    const { response: _response, ...rest } = outcome;
    if (outcome.code !== "Ok") {
      const details = outcome.details.map((detail) =>
        Buffer.from(detail.split(" ")[1] ?? "", "hex").toString("latin1"),
      );
      refusals.push({ what: `${method.name} ${outcome.code}`, text: JSON.stringify([rest, details]) });
    }
    return outcome;
  }

  /** Sends a message over both, as it is. */
  async function both<D extends DescMethod>(
    method: D,
    request: AnyRequest & object,
    headers: Record<string, string> = {},
  ) {
    if (method.methodKind === "unary") {
      await post(method, JSON.stringify(toJson(method.input, create(method.input, request))), headers);
    }
    return grpc(method, request, headers);
  }

  /** Breaks a message in every way in which one can be broken, with the values of these fields in it. */
  async function broken(
    method: DescMethod,
    fields: Readonly<Record<string, string>>,
    headers: Record<string, string> = {},
  ) {
    const whole = JSON.stringify(fields);
    const bodies = [
      whole.slice(0, -2),
      whole.slice(0, -1),
      `${whole}${Object.values(fields).join("")}`,
      whole.replace('"', ""),
      whole.replaceAll('":"', '":').replaceAll('","', ',"').replace('"}', "}"),
      Object.values(fields).join(),
      JSON.stringify(Object.values(fields)),
      JSON.stringify(Object.values(fields)[0] ?? ""),
      JSON.stringify({ unknown: fields }),
    ];
    for (const [name, value] of Object.entries(fields)) {
      const wrong = [[value], { [value]: value }, 7, true];
      bodies.push(...wrong.map((worse) => JSON.stringify({ ...fields, [name]: worse })));
      bodies.push(JSON.stringify({ ...fields, [name]: value.repeat(100) }));
      bodies.push(JSON.stringify({ ...fields, [name]: `${value}\u0000` }));
      bodies.push(JSON.stringify({ ...fields, [name]: `${value}\ud800` }));
      bodies.push(`${whole.slice(0, -1)},"${name}":"${value}"}`);
    }
    for (const body of bodies) {
      await post(method, body, headers);
      await rest(method, body, headers);
    }
    const search = new URLSearchParams(fields).toString();
    for (const { verb, path } of httpBindingsOf(method)) {
      const at = path.segments.map((segment) => ("literal" in segment ? segment.literal : "x")).join("/");
      await keep(`${verb} ${at}?`, `/${at}?${search}`, { method: verb, headers });
    }
    await post(
      method,
      Buffer.concat([Buffer.from(whole.slice(0, -2)), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
      headers,
    );
    // As protobuf: cut, with a wrong wire type, and text that is not UTF-8.
    const binary = Buffer.from(Object.values(fields).join(" "));
    for (const bytes of [
      binary,
      Buffer.concat([Buffer.from([0x0a, 0x7f]), binary]),
      Buffer.concat([Buffer.from([0x0a, binary.length + 1, 0xff]), binary]),
    ]) {
      await post(method, bytes, { ...headers, "content-type": "application/proto" });
    }
  }

  beforeAll(async () => {
    shop = await startInstallation(topology, { LOG_LEVEL: "trace" });
    await send();
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  async function send(): Promise<void> {
    const admin = { authorization: `Bearer ${await tokenOf(shop.url)}` };
    const password = m("password");
    const user = { email, displayName: m("display name"), password };

    // Users.
    await post(createUser, JSON.stringify({ ...user, idempotencyKey: "a key" }));
    await both(createUser, user);
    await both(createUser, { ...user, idempotencyKey: "a key" });
    await both(createUser, { ...user, password: m("wrong password"), idempotencyKey: "a key" });
    await broken(createUser, { email, displayName: m("display name"), password });
    await both(createUser, {
      email: `${m("unknown email")}@`,
      displayName: "n".repeat(200),
      password: m("wrong password"),
    });
    await both(createUser, { email: m("unknown email"), password: m("wrong password").slice(0, 5) });

    // Logins.
    await broken(login, { email, password: m("wrong password") });
    await both(login, { email, password: m("wrong password") });
    await both(login, { email: `${m("unknown email")}@tests.example`, password: m("wrong password") });
    const { json: first } = await post(login, JSON.stringify({ email, password }));
    const { json: again } = await post(refresh, JSON.stringify({ refreshToken: first.refreshToken }));
    await both(refresh, { refreshToken: first.refreshToken });
    await both(refresh, { refreshToken: m("refresh token") });
    await broken(refresh, { refreshToken: m("refresh token") });
    await broken(refresh, { refreshToken: String(again.refreshToken) });
    note("access token", first.accessToken, again.accessToken);
    note("refresh token", first.refreshToken, again.refreshToken);
    const own = { authorization: `Bearer ${String(again.accessToken)}` };

    // Tokens that are none, and those of no use.
    const fakeJwt = `${m("access token")}.${m("access token")}.${m("access token")}`;
    const fakeKey = `cck_${"0".repeat(32)}_${m("API key").padEnd(43, "0")}`;
    for (const token of [m("access token"), fakeJwt, fakeKey, `cck_${m("API key")}`, `${String(again.accessToken)}x`]) {
      for (const scheme of ["Bearer ", "Basic ", "", "Bearer a "]) {
        await post(getProfile, "{}", { authorization: scheme + token });
        await grpc(getProfile, {}, { authorization: scheme + token });
      }
    }

    // The profile, and what an admin does with it.
    const id = (await post(getProfile, "{}", own)).json.user?.id ?? "";
    await both(updateProfile, { displayName: m("display name") }, own);
    await both(updateProfile, { email: newEmail, expectedVersion: 99 }, own);
    await both(updateProfile, { email: "admin@tests.example", displayName: m("display name") }, own);
    await broken(updateProfile, { email: newEmail, displayName: m("display name") }, own);
    await both(updateUser, { id, email: newEmail, idempotencyKey: "another key" }, admin);
    await both(updateUser, { id, email, expectedVersion: 99 }, admin);
    await broken(updateUser, { id, email, displayName: m("display name") }, admin);
    await broken(updateUser, { id, email, displayName: m("display name") });
    await both(listUsers, { prefix: newEmail }, admin);
    await both(listUsers, { prefix: m("display name"), pageToken: "forged" }, admin);
    await broken(listUsers, { prefix: newEmail }, admin);
    const query = new URLSearchParams({
      encoding: "json",
      connect: "v1",
      message: JSON.stringify({ prefix: newEmail, pageSize: -1 }),
    });
    for (const headers of [admin, own, {}]) {
      const response = await fetch(`${shop.url}${pathOf(listUsers)}?${query.toString()}`, { headers });
      refusals.push({ what: "GET ListUsers", text: `${told(response.headers)}\n${await response.text()}` });
      await fetch(`${shop.url}${pathOf(login)}?password=${password}`, { headers }).then((answered) => answered.text());
    }

    // Addresses that are asked for: pages, and what there is not.
    const inAddress = new URLSearchParams({ token: m("refresh token"), password, code: m("access token"), email });
    for (const path of [
      "/-/user/reset-password",
      "/-/user/confirm-email",
      "/-/user/openid/callback",
      "/docs/",
      "/livez",
    ]) {
      await keep(path, `${path}?${inAddress.toString()}`);
    }
    for (const path of ["/nothing", "/api/v1/nothing", "/-/user/nothing", "/-/notification/unsubscribe"]) {
      await keep(path, `${path}?${inAddress.toString()}`, { headers: own });
    }
    for (const provider of [m("wrong password"), "no-such-provider"]) {
      await broken(startOpenIdLogin, { provider, returnTo: `/${m("unknown email")}` });
      await broken(finishOpenIdLogin, { loginToken: m("access token"), code: m("refresh token"), state: provider });
    }

    // Passwords.
    await both(changePassword, { currentPassword: m("wrong password"), newPassword: m("new password") }, own);
    await both(changePassword, { currentPassword: password, newPassword: m("new password").slice(0, 5) }, own);
    await broken(changePassword, { currentPassword: password, newPassword: m("new password") }, own);
    await post(changePassword, JSON.stringify({ currentPassword: password, newPassword: m("new password") }), own);

    // Addresses.
    const added = await post(addAddress, JSON.stringify({ address, idempotencyKey: "an address" }), own);
    await both(addAddress, { address }, own);
    await both(updateAddress, { id: added.json.entry?.id ?? "", address }, own);
    await both(updateAddress, { id, address }, own);
    const bad = {
      ...address,
      countryCode: "germany",
      lines: [],
      postalCode: address.postalCode.repeat(9),
      phone: address.phone.repeat(9),
    };
    for (const method of [addAddress, updateAddress]) await both(method, { id, address: bad }, own);
    for (const [name, value] of Object.entries(address)) {
      const shown = String(value);
      for (const wrong of [[[shown]], { [shown]: shown }, 7, shown.repeat(100), `${shown}\u0001`]) {
        await post(addAddress, JSON.stringify({ address: { ...address, [name]: wrong } }), own);
      }
    }

    // Orders.
    const paymentMethodToken = m("payment method");
    const items = [{ sku: "NO-SUCH", quantity: 1 }];
    const order = {
      items,
      paymentMethodToken,
      shippingAddress: address,
      billingAddress: address,
      idempotencyKey: "an order",
    };
    const faulty = { ...order, paymentMethodToken: paymentMethodToken.repeat(20), shippingAddress: bad };
    for (const one of [order, faulty, { ...order, items: [] }]) {
      for (const headers of [own, {}]) {
        await both(createOrder, one, headers);
        await both(batchCreateOrders, { orders: [one] }, headers);
        await both(createOrders, { sequence: 1, order: one }, headers);
      }
    }
    await broken(createOrder, { paymentMethodToken }, own);
    const sku = `S-${randomBytes(6).toString("hex")}`;
    const product = { title: "A mug", variants: [{ sku, price: { currencyCode: "EUR", amountMinor: "100" } }] };
    await post(addProduct, JSON.stringify(product), admin);
    await post(adjustStock, JSON.stringify({ sku, delta: "9" }), admin);
    // Also the payment provider gets to see how it is paid.
    const placed = { ...order, items: [{ sku, quantity: 1 }], waitFor: WaitFor.SETTLED };
    expect((await post(createOrder, JSON.stringify(placed), own)).status).toBe(200);
    expect((await both(createOrder, { ...placed, paymentMethodToken: m("city of an address") }, own)).code).not.toBe(
      "Ok",
    );

    // Payment methods.
    const token = m("saved payment method");
    for (const headers of [own, admin, {}]) await both(savePaymentMethod, { token, userId: id }, headers);
    await both(savePaymentMethod, { token: token.repeat(20) }, own);
    await broken(savePaymentMethod, { token }, own);

    // API keys.
    const key = await post(createApiKey, JSON.stringify({ name: "a machine", permissions: ["user.read"] }), admin);
    note("API key", key.json.secret?.slice(-43));
    await both(listUsers, { pageSize: -1 }, { authorization: `Bearer ${key.json.secret ?? ""}` });
    await both(
      createApiKey,
      { name: "another", permissions: ["user.read"] },
      { authorization: `Bearer ${key.json.secret ?? ""}` },
    );

    // What the database refuses, and nobody has foreseen.
    await inDatabase("user", (database) =>
      database.query(`alter table users add constraint odd check (display_name not like '%odd') not valid;
        alter table addresses add constraint odd check (address->>'city' not like '%odd') not valid`),
    );
    await inDatabase("order", (database) =>
      database.query(
        "alter table orders add constraint odd check (shipping_address->>'city' not like '%odd') not valid",
      ),
    );
    const odd = { ...address, city: `${address.city} odd` };
    const failures = [
      await both(createUser, {
        email: newEmail.replace("@", ".2@"),
        displayName: `${m("display name")} odd`,
        password,
      }),
      await both(updateProfile, { displayName: `${m("display name")} odd` }, own),
      await both(addAddress, { address: odd }, own),
      await both(createOrder, { ...placed, idempotencyKey: "an odd order", shippingAddress: odd }, own),
    ];
    expect(failures.map(({ reason }) => reason)).toEqual(failures.map(() => "INTERNAL"));
  }

  function note(kind: string, ...texts: unknown[]): void {
    for (const text of texts) {
      if (typeof text !== "string" || text.length < 40) throw new Error(`the shop did not answer a ${kind}`);
      made.push({ kind, text });
    }
  }

  async function inDatabase<T>(role: string, work: (database: Client) => Promise<T>): Promise<T> {
    const client = new Client({ connectionString: shop.databases[role]?.url ?? "" });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }

  const all = () => [...Object.values(markers), ...made];

  test("no process logs any of them", () => {
    const outputs = [...new Set(Object.values(shop.processes))].map((server) => server.output()).join("\n");
    const lines = outputs.split("\n");
    process.stdout.write(`${topology}: ${String(sent)} requests, ${String(lines.length)} lines of log\n`);
    expect(lines.length).toBeGreaterThan(sent);
    const found = all().flatMap((marker) =>
      lines.filter((line) => isIn(marker, line)).map((line) => `${marker.kind}: ${line.slice(0, 1_000)}`),
    );
    expect([...new Set(found)].slice(0, 10)).toEqual([]);
  });

  test("no refusal says any of them", () => {
    expect(refusals.length).toBeGreaterThan(200);
    const found = refusals.flatMap(({ what, text }) =>
      all()
        .filter((marker) => isIn(marker, text))
        .map(({ kind }) => `${what}: ${kind}: ${text.slice(text.indexOf("\n") + 1, 400)}`),
    );
    process.stdout.write(`${topology}: ${String(refusals.length)} refusals\n`);
    expect([...new Set(found)].slice(0, 10)).toEqual([]);
  });

  test("no table has any of them where it does not belong", async () => {
    const found = new Set<string>();
    let tables = 0;
    for (const role of Object.keys(shop.databases)) {
      await inDatabase(role, async (database) => {
        const { rows: names } = await database.query<{ name: string }>(
          "select quote_ident(table_schema) || '.' || quote_ident(table_name) as name from information_schema.tables where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')",
        );
        for (const { name } of names) {
          tables += 1;
          const table = `${role}.${name.replace(/^public\./, "")}`;
          // Bytes come in hexadecimal.
          const { rows } = await database.query<{ text: string }>(`select t::text as text from ${name} t`);
          for (const { text } of rows) {
            for (const marker of all().filter((each) => isIn(each, text))) {
              const allowed: readonly string[] = places[marker.kind as Kind];
              const isCopy = ANSWERS.includes(table) || EVENTS.includes(table) || table.startsWith("events.pgboss.");
              const isAnswer = isCopy && !secrets.includes(marker.kind);
              if (!isAnswer && !allowed.includes(table)) found.add(`${table} has the ${marker.kind}`);
            }
          }
        }
      });
    }
    expect(tables).toBeGreaterThan(Object.keys(shop.databases).length * 2);
    expect([...found]).toEqual([]);
  });

  test("the markers were there to be found", async () => {
    await inDatabase("user", async (database) => {
      const { rows } = await database.query<{ text: string }>("select t::text as text from users t");
      expect(rows.some(({ text }) => isIn(markers["new email"], text))).toBe(true);
      expect(rows.some(({ text }) => isIn(markers["display name"], text))).toBe(true);
    });
    for (const offset of ["", "a", "ab"]) {
      const hidden = Buffer.from(`${offset}${m("password")}zz`).toString("base64");
      expect(isIn(markers.password, hidden), offset).toBe(true);
    }
  });
});

interface Answer {
  readonly accessToken?: string;
  readonly refreshToken?: string;
  readonly secret?: string;
  readonly user?: { readonly id?: string };
  readonly entry?: { readonly id?: string };
}

function told(headers: Headers): string {
  return [...headers].map(([name, value]) => `${name}: ${value}`).join("; ");
}

const files = [
  file_commerce_common_v1_address,
  file_commerce_gateway_v1_gateway,
  file_commerce_common_v1_dead_letter,
  file_commerce_common_v1_event,
  file_commerce_inventory_v1_events,
  file_commerce_inventory_v1_inventory,
  file_commerce_notification_v1_notification,
  file_commerce_payment_v1_events,
  file_commerce_payment_v1_payment,
  file_commerce_order_v1_events,
  file_commerce_order_v1_order,
  file_commerce_product_v1_events,
  file_commerce_product_v1_product,
  file_commerce_user_v1_auth,
  file_commerce_user_v1_events,
  file_commerce_user_v1_user,
];

/** What is named like a secret or a part of a person. */
const DELICATE =
  /(?:^|_)(?:password|token|secret|email|phone|name|names|lines|street|city|postal_code|prefix|client_address|credential|card|iban)(?:_|$)/;

/** What only sounds like it. */
const HARMLESS: Readonly<Record<string, string>> = {
  page_token: "a position with a MAC",
  next_page_token: "a position with a MAC",
  resume_token: "a position with a MAC",
  "commerce.gateway.v1.ApiKey.name": "what a machine is for",
  "commerce.gateway.v1.CreateApiKeyRequest.name": "what a machine is for",
  "commerce.user.v1.LoginProvider.name": "which provider",
  "commerce.product.v1.Category.name": "what buyers see in the shop",
  "commerce.product.v1.CreateCategoryRequest.name": "what buyers see in the shop",
  "commerce.product.v1.UpdateCategoryRequest.name": "what buyers see in the shop",
  "commerce.order.v1.Order.lines": "what was bought",
  "commerce.order.v1.OrderRefund.lines": "what is paid back",
  "commerce.order.v1.RefundOrderRequest.lines": "what is paid back",
  "commerce.inventory.v1.Reservation.lines": "what an order holds",
  "commerce.inventory.v1.ReserveStockRequest.lines": "what an order wants",
  "commerce.inventory.v1.ReturnStockRequest.lines": "what comes back",
  "commerce.inventory.v1.Location.name": "what a place is called",
  "commerce.inventory.v1.CreateLocationRequest.name": "what a place is called",
  "commerce.inventory.v1.UpdateLocationRequest.name": "what a place is called",
  email_confirmed: "yes or no",
  password_changed: "what happened",
  password_reset_requested: "what happened",
  email_confirmation_requested: "what happened",
  token_expires_at: "a time",
  access_token_expires_at: "a time",
  refresh_token_expires_at: "a time",
};

test("every field that is named like a secret or a person says debug_redact", () => {
  const services = Object.values<RoleEntry>(registry).flatMap(({ services: own }) => own);
  const known = new Set(files.map(({ name }) => name));
  expect(services.map(({ file }) => file.name).filter((name) => !known.has(name))).toEqual([]);
  const fields = files.flatMap(({ messages }) => messages.flatMap(fieldsOf));
  const delicate = fields.filter(({ name }) => DELICATE.test(name));
  const nameOf = ({ parent, name }: DescField) => `${parent.typeName}.${name}`;
  const isRedacted = ({ proto }: DescField) => proto.options?.debugRedact === true;
  const isHarmless = (field: DescField) => nameOf(field) in HARMLESS || field.name in HARMLESS;
  const bare = delicate.filter((field) => !isRedacted(field) && !isHarmless(field)).map(nameOf);
  expect(bare).toEqual([]);
  expect(delicate.filter((field) => isRedacted(field) && isHarmless(field)).map(nameOf)).toEqual([]);
  const unused = Object.keys(HARMLESS).filter(
    (name) => !delicate.some((field) => [field.name, nameOf(field)].includes(name)),
  );
  expect(unused).toEqual([]);
  expect(delicate.filter(isRedacted).length).toBeGreaterThan(20);
});

function fieldsOf({ fields, nestedMessages }: DescMessage): DescField[] {
  return [...fields, ...nestedMessages.flatMap(fieldsOf)];
}
