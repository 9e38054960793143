import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import type { DescMethod } from "@bufbuild/protobuf";
import { create, fromJson, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { query } from "../journeys/checkout-shop.ts";
import { createAccount, tokenOf } from "../support/accounts.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import type { Installation } from "../support/installation.ts";
import { owners, startInstallation } from "../support/installation.ts";
import type { Clients } from "../support/protocols.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { present } from "../support/role.ts";
import type { Answer, Payload } from "../support/wire.ts";
import { openSender } from "../support/wire.ts";
import { hasRest, methods, requestOf, textsOf, withValue } from "./requests.ts";

let shop: Installation;
let folder: Folder;
/** Somebody who would notice being called. */
let trap: Server;
let calls = 0;
let corpus: Readonly<Record<string, string>>;
let admin: Clients;
const account = { email: `${randomUUID()}@example.com`, password: "correct horse" };

beforeAll(async () => {
  folder = await makeFolder();
  trap = createServer((socket) => {
    calls += 1;
    socket.destroy();
  }).listen(0, "127.0.0.1");
  await once(trap, "listening");
  corpus = corpusOf(`http://127.0.0.1:${String((trap.address() as AddressInfo).port)}/x.png`, mark());
  shop = await startInstallation("one process");
  admin = clientsOf(protocols.gRPC(shop.url));
  await tokenOf(shop.url);
  await createAccount(shop.url, account, "");
});
afterAll(async () => {
  await shop[Symbol.asyncDispose]();
  trap.close();
  await folder[Symbol.asyncDispose]();
});

/** A file that is there only once a shell has run what it was told. */
function mark(): string {
  return join(folder.path, "executed");
}

/** What means something to whoever reads it as code. */
function corpusOf(address: string, file: string): Record<string, string> {
  return {
    "SQL, a quote": "'",
    "SQL, a condition": "x' or '1'='1",
    "SQL, a statement": "x'; drop table users cascade; --",
    "SQL, a union": "x' union select null, version(), null -- ",
    "SQL, a dollar quote": "$$; select pg_sleep(20); $$",
    "SQL, escapes": "\\'; select pg_sleep(20) --",
    "SQL, a parameter": "$1 :name ? %s",
    NoSQL: '{"$gt": ""}',
    "NoSQL, code": "'; return true; var x='",
    LDAP: "*)(uid=*))(|(uid=*",
    XPath: "' or count(//*)=1 or 'a'='b",
    XML: `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>`,
    "a shell": `; touch ${file}`,
    "a shell, nested": `$(touch ${file})`,
    "a shell, ticks": "`touch " + file + "`",
    "a template": "{{7*191}}${7*191}#{7*191}",
    "a template of ours": "<%= process.exit(7) %><%~ 7*191 %>",
    "a script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "a path": "../../../../etc/passwd",
    "a path, escaped": "..%2f..%2f..%2fetc%2fpasswd",
    "a path of another system": "..\\..\\windows\\win.ini",
    "lines of a header": "x\r\nSet-Cookie: a=b\r\n\r\n<p>x",
    "lines of a mail": "x@example.com\r\nBcc: everybody@example.com",
    "lines of a log": '{"level":"error"}\n{"level":"error"}',
    "a formula": "=cmd|' /C calc'!A0",
    "a pattern": "(a+)+$",
    wildcards: "%_*?",
    "other digits and letters": "\uff07\u2019\u02bc or \u0661=\u0661",
    "right to left": "\u202egnp.exe",
    "letters that combine": "Z\u0351\u036b\u0343a\u0301\u200d\ufeff",
    "a great letter": "\u{1f6d2}\u{10ffff}",
    "a prototype": "__proto__",
    "an address": address,
    "an address of the cloud": "http://169.254.169.254/latest/meta-data/",
    "a file": "file:///etc/passwd",
    long: "x".repeat(20_000),
  };
}

/** What an error must not tell: how it was asked, where, by which code. */
const TELLING =
  /syntax error|\b(?:select|insert|update|delete)\b.*\b(?:from|into|set|where)\b|\brelation\b|\bconstraint\b|\bpg_|duplicate key|\.[jt]s:\d|node_modules|\bat \w+ \(|\/src\/|TypeError|ECONN/i;

function isWell(answer: Answer, sent: string): boolean {
  if (answer.code === "ok") return answer.status === 200;
  const isOurs = ["internal", "unknown", "unavailable", "data_loss", "deadline_exceeded", ""].includes(answer.code);
  const said = answer.message.replaceAll(sent, "");
  return (
    !isOurs && answer.reasons.length === 1 && (answer.status < 500 || answer.status === 501) && !TELLING.test(said)
  );
}

function payloadOf(method: DescMethod, json: ReturnType<typeof requestOf>): Payload {
  const message = fromJson(method.input, json);
  return { json: JSON.stringify(json), binary: toBinary(method.input, create(method.input, message)) };
}

/** A stream that has nothing to say does not end. */
const ENDLESS = ["WatchStock"];

test("no text of any request is taken for code, in whichever field", { timeout: 600_000 }, async () => {
  const before = await tablesOf();
  const senders = (["REST", "Connect JSON", "gRPC"] as const).map(
    (wire) => [wire, openSender(wire, shop.url)] as const,
  );
  const places = methods
    .filter(({ name }) => !ENDLESS.includes(name))
    .flatMap((method) => textsOf(method.input).map((path) => ({ method, path })));
  // The wires take turns, by text and by place.
  const attempts = places.flatMap((place, row) =>
    Object.entries(corpus).map(([what, text], column) => ({ ...place, what, text, turn: row + column })),
  );
  const wrong: string[] = [];
  let next = 0;
  const work = async () => {
    for (let at = next++; at < attempts.length; at = next++) {
      const { method, path, what, text, turn } = attempts[at] as (typeof attempts)[number];
      const [wire, sender] = senders[turn % 3] as (typeof senders)[number];
      if (wire === "REST" && !hasRest(method)) continue;
      const answer = await sender.send(method, payloadOf(method, withValue(requestOf(method), path, text)));
      if (!isWell(answer, text))
        wrong.push(`${wire} ${method.name} ${path.join(".")}, ${what}: ${JSON.stringify(answer)}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  for (const [, sender] of senders) sender.close();
  process.stdout.write(`injection: ${String(attempts.length)} texts in ${String(methods.length)} methods\n`);
  expect(wrong.slice(0, 20)).toEqual([]);
  expect(shop.processes["gateway"]?.log.filter(({ level }) => level === "error")).toEqual([]);
  expect(await tablesOf()).toEqual(before);
  expect((await query(shop, "user", "select 1 from users where email = 'admin@tests.example'")).length).toBe(1);
});

/** The tables of each role. */
async function tablesOf(): Promise<Record<string, unknown>> {
  const list = "select tablename from pg_tables where schemaname = 'public' order by 1";
  return Object.fromEntries(await Promise.all(owners.map(async (role) => [role, await query(shop, role, list)])));
}

test("no address in a request is called, and no command is run", () => {
  expect(calls).toBe(0);
  expect(existsSync(mark())).toBe(false);
});

/** Writes a text where people write texts, and reads it again. */
const stored: Readonly<Record<string, (text: string) => Promise<unknown>>> = {
  "a product": async (text) => {
    const price = { currencyCode: "EUR", amountMinor: 1n };
    const variants = [{ sku: `S-${randomUUID()}`, price, options: { size: text } }];
    const { product } = await admin.products.addProduct({
      title: text,
      description: text,
      attributes: { x: text },
      variants,
    });
    const read = present((await admin.products.getProduct({ id: present(product).id })).product);
    return [read.title, read.description, read.attributes["x"], read.variants[0]?.options["size"]];
  },
  "a category": async (text) => {
    const { category } = await admin.products.createCategory({ name: text });
    return [(await admin.products.getCategory({ id: present(category).id })).category?.name];
  },
  "a user": async (text) => {
    const { user } = await admin.users.createUser({ email: `${randomUUID()}@example.com`, displayName: text });
    return [(await admin.users.getUser({ id: present(user).id })).user?.displayName];
  },
  "an address": async (text) => {
    const { users } = clientsOf(protocols.gRPC(shop.url, account));
    await users.addAddress({ address: { name: text, lines: [text], city: text, countryCode: "DE" } });
    const [entry] = (await users.getProfile({})).addresses;
    await users.removeAddress({ id: present(entry).id });
    return [entry?.address?.name, entry?.address?.lines[0], entry?.address?.city];
  },
  "an API key": async (text) => {
    const gateway = createClient(GatewayService, protocols.gRPC(shop.url));
    const made = await gateway.createApiKey({ name: text, permissions: ["user.read"] });
    const { apiKeys } = await gateway.listApiKeys({ pageSize: 500 });
    return [apiKeys.find(({ id }) => id === made.apiKey?.id)?.name];
  },
};

test.each(Object.keys(stored))("what is stored of %s comes back letter by letter, or is refused", async (kind) => {
  let kept = 0;
  for (const [what, text] of Object.entries(corpus)) {
    const read = await stored[kind]?.(text).catch((error: unknown) => ConnectError.from(error).code);
    const asRead = Array.isArray(read) ? read.map(() => text) : Code.InvalidArgument;
    expect(read, what).toEqual(asRead);
    if (Array.isArray(read)) kept += 1;
  }
  expect(kept).toBeGreaterThan(20);
});

describe("wildcards", () => {
  test("of SQL in a search of products find what they are, and no more", async () => {
    const word = `w${randomUUID().slice(0, 8)}`;
    const titles = [`${word} alpha`, `${word} beta`, `${word}x gamma`];
    const price = { currencyCode: "EUR", amountMinor: 1n };
    for (const title of titles) {
      await admin.products.addProduct({ title, variants: [{ sku: `S-${randomUUID()}`, price }] });
    }
    const found = async (text: string) =>
      (await admin.products.queryProducts({ text, pageSize: 100 })).products.map(({ title }) => title).toSorted();
    expect(await found(`${word} alpha`)).toEqual([titles[0]]);
    for (const text of ["%", "_", "*", "%%%", "' | '", "!", "\\", ":*", "&"])
      expect(await found(text), text).toEqual([]);
    for (const text of [`${word} | nothing`, `${word} !alpha nothing`, `%${word.slice(1)}`]) {
      expect(await found(text), text).toEqual([]);
    }
  });

  test("of SQL in a search of users stand for themselves", async () => {
    const word = `w${randomUUID().slice(0, 8)}`;
    for (const name of [`${word}_a`, `${word}xa`, `${word}%`]) {
      await admin.users.createUser({ email: `${name.replace("%", "p")}@example.com`, displayName: name });
    }
    const found = async (prefix: string) =>
      (await admin.users.listUsers({ prefix, pageSize: 100 })).users.map(({ displayName }) => displayName).toSorted();
    expect(await found(`${word}_`)).toEqual([`${word}_a`]);
    expect(await found(`${word}%`)).toEqual([`${word}%`]);
    expect(await found(`%${word.slice(1)}`)).toEqual([]);
    expect(await found(`_${word.slice(1)}`)).toEqual([]);
    expect(await found(`\\${word}`)).toEqual([]);
  });
});
