import { expect, test } from "vitest";
import type { AuditRecord, ChainedRecord } from "./audit-chain.ts";
import { chained, emptyChain, verifyChain } from "./audit-chain.ts";

const empty = emptyChain("0199d2f0-0000-7000-8000-000000000001", "gateway-1:17");

function record(n: number): AuditRecord {
  return {
    occurred_at: new Date(1_800_000_000_000 + n),
    subject: "0199d2f0-0000-7000-8000-000000000002",
    method: "commerce.user.v1.UserService/UpdateUser",
    request_id: `r${String(n)}`,
    client_address: "192.0.2.1",
    phase: "outcome",
    code: "ok",
    reason: null,
    resource_ids: { user_id: "u", id: "i" },
    received: null,
    sent: null,
  };
}

function chainOf(length: number): ChainedRecord[] {
  const entries: ChainedRecord[] = [];
  for (let n = 1; n <= length; n += 1) entries.push(chained(entries.at(-1) ?? empty, record(n)));
  return entries;
}

/** What is wrong with these entries, as the chain whose last entry was the last of `whole`. */
function verify(entries: readonly ChainedRecord[], whole = chainOf(5), gateway = empty.gateway) {
  const last = whole.at(-1) ?? empty;
  const verifier = verifyChain({ id: empty.id, gateway, position: last.position, hash: last.hash });
  for (const entry of entries) {
    const broken = verifier.next(entry);
    if (broken) return broken;
  }
  return verifier.end();
}

test("a chain as it was written", () => {
  expect(verify(chainOf(5))).toBeUndefined();
  expect(verify([], [])).toBeUndefined();
});

test("the hash of an entry stays what it was in every release", () => {
  expect(chainOf(2).map(({ hash }) => hash.toString("hex"))).toMatchInlineSnapshot(`
    [
      "3335bb3a6cd680f7cdc7e434e7ec5dffcbe3e20c14225d1a922737f5be234e33",
      "9ba0fb3c58e653ba8d03183446c144ab7a4a3b1f08f6289a5cd769abd5484c60",
    ]
  `);
});

const changes: Readonly<Record<string, Partial<ChainedRecord>>> = {
  "the time": { occurred_at: new Date(1_800_000_000_004) },
  "who called": { subject: "" },
  "the method": { method: "commerce.user.v1.UserService/UpdateUsers" },
  "the request": { request_id: "r4" },
  "the address": { client_address: null },
  "the phase": { phase: "intent" },
  "the code": { code: "canceled" },
  "the reason": { reason: "" },
  "an id": { resource_ids: { user_id: "u", id: "j" } },
  "the field of an id": { resource_ids: { user_id: "i", id: "u" } },
  "a count": { received: 0n },
  "the other count": { sent: 0n },
  "the hash": { hash: Buffer.alloc(32) },
};

test.each(Object.entries(changes))("%s was changed", (_what, change) => {
  const entries = chainOf(5).map((entry) => (entry.position === 3n ? { ...entry, ...change } : entry));
  expect(verify(entries)).toMatchObject({ chain: empty.id, position: 3n });
});

test("an entry was changed, and all hashes after it made anew", () => {
  const [first, second] = chainOf(2);
  const forged = [first, second].flatMap((entry) => entry ?? []);
  for (let n = 3; n <= 5; n += 1) forged.push(chained(forged.at(-1) ?? empty, { ...record(n), subject: "" }));
  expect(verify(forged)).toMatchObject({ position: 5n, problem: "is not the one that was last written" });
});

test("the order of ids does not count", () => {
  const entries = chainOf(5).map((entry) => ({ ...entry, resource_ids: { id: "i", user_id: "u" } }));
  expect(verify(entries)).toBeUndefined();
});

test("entries were deleted, put in, exchanged, repeated", () => {
  const entries = chainOf(5);
  const [a, b, c, d, e] = entries as [ChainedRecord, ChainedRecord, ChainedRecord, ChainedRecord, ChainedRecord];
  expect(verify([b, c, d, e])).toMatchObject({ position: 1n, problem: "is missing" });
  expect(verify([a, b, d, e])).toMatchObject({ position: 3n, problem: "is missing" });
  expect(verify([a, b, c, d])).toMatchObject({ position: 5n, problem: "is missing, at the end of the chain" });
  expect(verify([])).toMatchObject({ position: 1n });
  expect(verify([a, b, { ...d, position: 3n }, { ...c, position: 4n }, e])).toMatchObject({ position: 3n });
  expect(verify([a, b, b, c, d, e])).toMatchObject({ position: 2n, problem: "is there twice" });
  expect(verify([...entries, chained(e, record(6))])).toMatchObject({ position: 6n });
  const put = chained(b, record(9));
  expect(verify([a, b, put, ...[c, d, e].map((entry) => ({ ...entry, position: entry.position + 1n }))])).toMatchObject(
    {
      position: 4n,
    },
  );
});

test("a chain was given to another process", () => {
  expect(verify(chainOf(5), chainOf(5), "gateway-2:17")).toMatchObject({ position: 1n });
});
