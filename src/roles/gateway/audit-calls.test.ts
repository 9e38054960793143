import type { DescMethod } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Call } from "../../platform/call.ts";
import { systemClock } from "../../platform/clock.ts";
import { errors } from "../../platform/errors.ts";
import { auditCalls } from "./audit-calls.ts";
import type { AuditRecord } from "./audit-chain.ts";
import type { Audit } from "./audit.ts";

const { createUser, getUser, updateUser } = UserService.method;
const { archiveProduct } = ProductService.method;
const { createOrders } = OrderService.method;

const ADA = "0199d2f0-0000-7000-8000-000000000001";
/** Of the entry that cannot be stored. */
const AWAY = "0199d2f0-0000-7000-8000-00000000dead";

/** Entries for which room is kept, and those that are recorded. */
let room = 0;
let records: AuditRecord[] = [];
beforeEach(() => {
  room = 0;
  records = [];
});

const audit: Audit = {
  reserve: (entries) => {
    room += entries;
  },
  take: (entries) => {
    room += entries;
  },
  release: (entries) => {
    room -= entries;
  },
  add: (record) => {
    room -= 1;
    records.push(record);
  },
  addDurably: async (record) => {
    room -= 1;
    records.push(record);
    if (record.resource_ids["id"] === AWAY) throw errors.PEER_DOWN();
  },
  close: async () => undefined,
};
const observe = auditCalls({ audit, clock: systemClock });

function observed(method: DescMethod, input: Readonly<Record<string, unknown>> = {}) {
  const call = {
    method,
    requestId: "r1",
    clientAddress: "192.0.2.1",
    subject: { kind: "machine", id: "m1", permissions: [] },
  } as unknown as Call;
  return observe(call, method.methodKind === "unary" ? create(method.input, input) : input);
}

const phases = () => records.map(({ phase, code }) => [phase, code]);

test("reads are not recorded", () => {
  expect(observed(getUser)).toBeUndefined();
  expect(room).toBe(0);
});

test.each([createUser, archiveProduct, createOrders])(
  "room is kept while a call runs, and no longer; a stream that runs keeps none: $name",
  async (method) => {
    for (const isBegun of [true, false]) {
      for (const failure of [undefined, errors.ACCESS_DENIED()]) {
        const observer = observed(method);
        const kept = { [createUser.name]: [1, 1], [archiveProduct.name]: [2, 1], [createOrders.name]: [1, 0] };
        const [before, begun] = kept[method.name] ?? [];
        expect(room).toBe(before);
        if (isBegun) await observer?.begin();
        expect(room).toBe(isBegun ? begun : before);
        observer?.end(failure, undefined);
        expect(room).toBe(0);
      }
    }
  },
);

test("what is not stored before is refused, and that is recorded", async () => {
  const observer = observed(archiveProduct, { id: AWAY });
  await expect(observer?.begin()).rejects.toMatchObject({ reason: "PEER_DOWN" });
  observer?.end(errors.PEER_DOWN(), undefined);
  expect(phases()).toEqual([
    ["intent", null],
    ["outcome", "unavailable"],
  ]);
  expect(room).toBe(0);
});

test("a refused call has no intent", () => {
  observed(archiveProduct)?.end(errors.ACCESS_DENIED(), undefined);
  expect(phases()).toEqual([["outcome", "permission_denied"]]);
});

test("who, from where, what and with which result", () => {
  observed(updateUser, { id: ADA, email: "ada@example.com" })?.end(errors.VERSION_MISMATCH(), undefined);
  expect(records).toEqual([
    {
      occurred_at: expect.any(Date) as Date,
      subject: "key:m1",
      method: "commerce.user.v1.UserService/UpdateUser",
      request_id: "r1",
      client_address: "192.0.2.1",
      phase: "outcome",
      code: "aborted",
      reason: "VERSION_MISMATCH",
      resource_ids: { id: ADA },
      received: null,
      sent: null,
    },
  ]);
});

test("a stream is recorded with the counts of its messages, and without its contents", async () => {
  const observer = observed(createOrders, { id: "not a message" });
  await observer?.begin();
  observer?.end(undefined, { received: 3, sent: 2 });
  expect(records).toMatchObject([
    { phase: "intent", received: null },
    { phase: "outcome", code: "ok", received: 3n, sent: 2n, resource_ids: {} },
  ]);
});
