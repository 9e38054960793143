import { randomUUID } from "node:crypto";
import type { DescField, DescMethod } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  CreateUserRequestSchema,
  CreateUserResponseSchema,
  UpdateProfileRequestSchema,
  UserRole,
  UserService,
} from "#gen/commerce/user/v1/user_pb.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import { openSender } from "../support/wire.ts";
import { writesOf } from "../support/writes.ts";
import { answeredFields, hasRest, messagesIn, requestOf, withValue, writes } from "./requests.ts";

let shop: Installation;
beforeAll(async () => {
  shop = await startInstallation("one process");
  await tokenOf(shop.url);
});
afterAll(() => shop[Symbol.asyncDispose]());

/** What attackers try whether an answer has it or not. */
const GUESSED = [
  "is_admin",
  "role",
  "roles",
  "permissions",
  "price",
  "total",
  "state",
  "version",
  "owner_id",
  "user_id",
];

interface Attempt {
  readonly method: DescMethod;
  readonly field: string;
  readonly json: string;
  readonly wire: "REST" | "Connect JSON";
}

/** A request of the method with one field more, of each that an answer has and a request has not. */
function attemptsOf(method: DescMethod): Attempt[] {
  const request = requestOf(method);
  const answered = answeredFields(method);
  return messagesIn(method.input, request).flatMap(({ path, schema }) => {
    const own = new Set(schema.fields.map(({ name }) => name));
    const names = [...new Set([...answered.keys(), ...GUESSED])].filter((name) => !own.has(name));
    return names.map((name, at): Attempt => {
      const isRest = hasRest(method) && at % 2 === 0;
      // JSON takes both names of a field.
      const key = isRest ? (answered.get(name)?.jsonName ?? name) : name;
      const changed = withValue(request, [...path, key], "1");
      const field = [...path, key].join(".");
      return { method, field, json: JSON.stringify(changed), wire: isRest ? "REST" : "Connect JSON" };
    });
  });
}

/** Fields with numbers that no request has, and those that its answer has: a binary message may hold any. */
function withMore(message: Uint8Array, isOwn: (number: number) => boolean): Uint8Array {
  const writer = new BinaryWriter().raw(message);
  for (let number = 1; number < 40; number += 1) {
    if (isOwn(number)) continue;
    writer.tag(number, WireType.Varint).int32(UserRole.ADMIN);
  }
  return writer.finish();
}

test("fields that a binary request does not have are not heard", async () => {
  const account = { email: `${randomUUID()}@example.com`, password: "correct horse" };
  const post = (name: string, body: Uint8Array, headers: Record<string, string> = {}) =>
    fetch(`${shop.url}/${UserService.typeName}/${name}`, {
      method: "POST",
      headers: { "content-type": "application/proto", ...headers },
      body: Buffer.from(body),
    });
  const owns = (fields: readonly DescField[]) => (number: number) => fields.some((field) => field.number === number);
  const asked = toBinary(CreateUserRequestSchema, create(CreateUserRequestSchema, account));
  const created = await post("CreateUser", withMore(asked, owns(CreateUserRequestSchema.fields)));
  expect(created.status).toBe(200);
  const { user } = fromBinary(CreateUserResponseSchema, Buffer.from(await created.arrayBuffer()));
  const own = clientsOf(protocols.gRPC(shop.url, account));
  const authorization = `Bearer ${await tokenOf(shop.url, account)}`;
  const rename = toBinary(UpdateProfileRequestSchema, create(UpdateProfileRequestSchema, { displayName: "Ada" }));
  const renamed = await post("UpdateProfile", withMore(rename, owns(UpdateProfileRequestSchema.fields)), {
    authorization,
  });
  expect(renamed.status).toBe(200);
  const { user: now } = await own.users.getProfile({});
  const { id, state, roles } = present(user);
  expect(now).toMatchObject({ id, state, roles, displayName: "Ada", email: account.email, version: 2 });
  expect(roles).toEqual([]);
});

test("an order is its caller's, at the catalogue's price, whatever the request claims", async () => {
  const account = { email: `${randomUUID()}@example.com`, password: "correct horse" };
  const userId = await createAccount(shop.url, account, "");
  const other = await createAccount(shop.url, { ...account, email: `${randomUUID()}@example.com` }, "");
  const sku = `MUG-${randomUUID()}`;
  const price = { currencyCode: "EUR", amountMinor: 1_290n };
  await clientsOf(protocols.gRPC(shop.url)).products.addProduct({ title: "A mug", variants: [{ sku, price }] });
  const authorization = `Bearer ${await tokenOf(shop.url, account)}`;
  const order = async (body: object) => {
    const answer = await fetch(`${shop.url}/api/v1/orders`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization },
      body: JSON.stringify(body),
    });
    return [answer.status, await answer.json()] as const;
  };
  const items = [{ sku, quantity: 1 }];
  const discount = [{ kind: "ADJUSTMENT_KIND_DISCOUNT", label: "mine", amountMinor: "-1000" }];
  expect((await order({ items, userId: other }))[0]).toBe(403);
  expect((await order({ items, adjustments: discount }))[0]).toBe(403);
  expect((await order({ items: [{ sku, quantity: 1, unitPrice: { amountMinor: "1" } }] }))[0]).toBe(400);
  expect((await order({ items, expectedTotal: { currencyCode: "EUR", amountMinor: "1" } }))[0]).toBe(400);
  const [status, body] = await order({ items });
  expect([status, body]).toMatchObject([
    200,
    { order: { userId, itemsAmount: { amountMinor: "1290" }, state: "ORDER_STATE_PENDING" } },
  ]);
});

// The last one: some of its requests end the session.
test("a field that only answers have is refused in every request that changes something", async () => {
  const senders = {
    REST: openSender("REST", shop.url),
    "Connect JSON": openSender("Connect JSON", shop.url),
  };
  const attempts = writes.flatMap(attemptsOf);
  const before = await writesOf(shop);
  const wrong: string[] = [];
  let next = 0;
  const work = async () => {
    for (let one = attempts[next++]; one; one = attempts[next++]) {
      const { method, field, json, wire } = one;
      const answer = await senders[wire].send(method, { json, binary: new Uint8Array() });
      const isRefused = answer.code === "invalid_argument" && answer.reasons.join() === "MALFORMED_MESSAGE";
      if (!isRefused) wrong.push(`${wire} ${method.name} ${field}: ${answer.code} ${answer.reasons.join()}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  process.stdout.write(`mass assignment: ${String(attempts.length)} fields in ${String(writes.length)} methods\n`);
  expect(wrong.slice(0, 20)).toEqual([]);
  expect(await writesOf(shop)).toEqual(before);
  // The same requests without such a field are read.
  for (const method of writes) {
    const { reasons } = await senders["Connect JSON"].send(method, {
      json: JSON.stringify(requestOf(method)),
      binary: new Uint8Array(),
    });
    expect(reasons, method.name).not.toContain("MALFORMED_MESSAGE");
  }
  for (const sender of Object.values(senders)) sender.close();
});
