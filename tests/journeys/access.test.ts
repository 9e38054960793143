import { generateKeyPairSync, randomUUID } from "node:crypto";
import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import type { Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { createConnectTransport as createWebTransport } from "@connectrpc/connect-web";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { wireRegistry } from "../../src/platform/wire.ts";
import type { Attempt } from "../support/attempt.ts";
import { attempt } from "../support/attempt.ts";
import { until } from "../support/conditions.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import { tokenOf } from "../support/accounts.ts";
import { present } from "../support/role.ts";
import type { Cast } from "./access-calls.ts";
import { castAt, methods, nothing, rows } from "./access-calls.ts";
import type { Actor, Word } from "./access-matrix.ts";
import { accessMatrix, actors } from "./access-matrix.ts";

const json = { useBinaryFormat: false, jsonOptions: { registry: wireRegistry } };

interface Way {
  readonly name: string;
  readonly open: (url: string) => Transport;
  readonly carries: (method: DescMethod) => boolean;
}

const isUp = ({ methodKind }: DescMethod) => methodKind === "bidi_streaming" || methodKind === "client_streaming";

/** The ways in, and which methods go each. */
const ways: readonly Way[] = [
  { name: "gRPC", open: (baseUrl) => createGrpcTransport({ baseUrl }), carries: () => true },
  {
    name: "POST",
    open: (baseUrl) => createWebTransport({ ...json, baseUrl }),
    carries: (method) => !isUp(method),
  },
  {
    name: "GET",
    open: (baseUrl) => createWebTransport({ ...json, baseUrl, useHttpGet: true }),
    carries: ({ methodKind, idempotency }) => methodKind === "unary" && idempotency === Level.NO_SIDE_EFFECTS,
  },
  // What streams upwards needs HTTP/2.
  {
    name: "POST over HTTP/2",
    open: (baseUrl) => createConnectTransport({ ...json, baseUrl, httpVersion: "2" }),
    carries: isUp,
  },
];

/** What became of a call, in a word of the table where there is one. */
function wordOf({ code, reason, message }: Attempt): string {
  switch (code) {
    case "Unauthenticated":
      if (reason === "TOKEN_MISSING") return "missing";
      // Of the password, or the login token, in the request; not of who calls.
      return ["CREDENTIALS_INVALID", "OPENID_LOGIN_INVALID"].includes(reason) ? "ok" : reason;
    case "PermissionDenied":
      return reason === "ACCESS_DENIED" ? "denied" : `denied as ${reason}`;
    case "Unimplemented":
      return reason === "UNSUPPORTED_METHOD" ? "hidden" : `${code} ${reason}`;
    case "Internal":
    case "Unknown":
    case "Unavailable":
    case "DeadlineExceeded":
    case "Canceled":
    case "ResourceExhausted":
      // Not judged at all.
      return `${code} ${reason}: ${message}`;
    default:
      return "ok";
  }
}

const shown = (word: Word) => (word === "own" ? "ok" : word);

test("the table has every rpc of the registry, and no other", () => {
  expect(accessMatrix.map(({ rpc }) => rpc).sort()).toEqual([...methods.keys()].sort());
});

describe.each(topologies)("access in %s", (topology) => {
  let shop: Installation;
  let cast: Cast;
  let before: unknown;
  const open: Record<string, Transport> = {};

  beforeAll(async () => {
    shop = await startInstallation(topology);
    cast = await castAt(shop);
    before = await cast.stateOfOwner();
    for (const way of ways) open[way.name] = way.open(shop.url);
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  /** Makes a call in each way that carries it, or with a number in one of them, by turns. */
  async function inEachWay(
    method: DescMethod,
    make: (transport: Transport) => Promise<Attempt>,
    turn?: number,
  ): Promise<Record<string, Attempt>> {
    const found: Record<string, Attempt> = {};
    const carrying = ways.filter(({ carries }) => carries(method));
    const taken = turn === undefined ? carrying : [present(carrying[turn % carrying.length])];
    for (const { name } of taken) {
      const transport = present(open[name]);
      let outcome = await make(transport);
      // A machine that is busy lets a connection wait too long: clients try that again.
      for (let again = 0; outcome.code === "Unavailable" && again < 3; again += 1) outcome = await make(transport);
      found[name] = outcome;
    }
    return found;
  }

  async function call(actor: Actor, row: (typeof rows)[number], things = cast.things) {
    const headers = await cast.headersOf(actor, row);
    const about = things === cast.things ? undefined : things;
    // The way in ends at the gateway: where roles run does not change what becomes of it. All actors go each of them.
    const turn = topology === "one process" ? undefined : rows.indexOf(row) + actors.indexOf(actor);
    const make = async (transport: Transport) => {
      const outcome = await attempt(transport, row.method, cast.requestOf(actor, row.method, about), headers);
      cast.answered(outcome.response);
      return outcome;
    };
    return inEachWay(row.method, make, turn);
  }

  test.each(rows)("$rpc", async (row) => {
    const expected: Record<string, Record<string, string>> = {};
    const actual: typeof expected = {};
    async function judge(actor: Actor): Promise<void> {
      const outcomes = await call(actor, row);
      actual[actor] = Object.fromEntries(Object.entries(outcomes).map(([way, outcome]) => [way, wordOf(outcome)]));
      expected[actor] = Object.fromEntries(Object.keys(outcomes).map((way) => [way, shown(row.expected[actor])]));
      if (row.expected[actor] !== "denied") return;
      // Whoever is refused learns nothing about what there is.
      const absent = await call(actor, row, nothing());
      for (const [way, { code, message, details }] of Object.entries(outcomes)) {
        expect(absent[way], `${actor}, ${way}, of what there is not`).toMatchObject({ code, message, details });
      }
    }
    if (row.method.name === "Refresh") for (const actor of actors) await judge(actor);
    else await Promise.all(actors.map(judge));
    expect(actual).toEqual(expected);
    expect(await cast.stateOfOwner()).toEqual(before);
  });

  /** Headers that must let nobody in, and the reason that is told. */
  const useless: readonly {
    readonly what: string;
    readonly reason: string;
    readonly header: () => Promise<string> | string;
  }[] = [
    {
      what: "an expired token",
      reason: "TOKEN_EXPIRED",
      header: () => signed({ issuedIn: -700, expiresIn: -100 }),
    },
    {
      what: "a token whose claims were changed",
      reason: "TOKEN_INVALID",
      header: async () => {
        const [head = "", body = "", signature = ""] = (await signed({})).split(".");
        const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as object;
        const changed = Buffer.from(JSON.stringify({ ...claims, sub: randomUUID() })).toString("base64url");
        return [head, changed, signature].join(".");
      },
    },
    {
      what: "a token for another audience",
      reason: "TOKEN_INVALID",
      header: () => signed({ audience: "another-shop" }),
    },
    { what: "a token of another issuer", reason: "TOKEN_INVALID", header: () => signed({ issuer: "another-shop" }) },
    { what: "a token of another type", reason: "TOKEN_INVALID", header: () => signed({ typ: "JWT" }) },
    { what: "a token that lives too long", reason: "TOKEN_INVALID", header: () => signed({ expiresIn: 3_600 }) },
    {
      what: "a token by a key of somebody else",
      reason: "TOKEN_INVALID",
      header: () => signed({ key: generateKeyPairSync("ed25519").privateKey }),
    },
    {
      what: "a token by an unknown key",
      reason: "TOKEN_INVALID",
      header: () => signed({ key: generateKeyPairSync("ed25519").privateKey, kid: randomUUID() }),
    },
    {
      what: "a token that is signed with the public key as a secret",
      reason: "TOKEN_INVALID",
      header: () => signed({ alg: "HS256", key: cast.key.publicKey.export({ format: "der", type: "spki" }) }),
    },
    {
      what: "a token without a signature",
      reason: "TOKEN_INVALID",
      header: async () => {
        const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString("base64url");
        return `${none}.${(await signed({})).split(".")[1] ?? ""}.`;
      },
    },
    {
      what: "a token of a session that was ended",
      reason: "TOKEN_INVALID",
      header: async () => {
        const sessions = clientsOf(protocols.gRPC(shop.url, "nobody"));
        const { accessToken } = await sessions.auth.login(cast.accounts.support);
        const headers = { authorization: `Bearer ${accessToken}` };
        await sessions.auth.logout({}, { headers });
        const refused = async () =>
          (await attempt(protocols.gRPC(shop.url, "nobody"), getProfile, {}, headers)).code === "Unauthenticated";
        await until(refused, 2_000);
        return accessToken;
      },
    },
    {
      what: "an API key that was revoked",
      reason: "TOKEN_INVALID",
      header: async () => {
        const { id, secret } = await cast.apiKey("order.read", "user.read", "user.write", "product.write");
        await createClient(GatewayService, protocols.gRPC(shop.url)).revokeApiKey({ id });
        return secret;
      },
    },
    {
      what: "an API key whose secret was changed",
      reason: "TOKEN_INVALID",
      header: async () => {
        const { secret } = await cast.apiKey("order.read", "user.read", "user.write", "product.write");
        return secret.slice(0, -4) + (secret.endsWith("AAAA") ? "BBBB" : "AAAA");
      },
    },
    { what: "a token that is none", reason: "TOKEN_INVALID", header: () => "nonsense" },
  ];

  /** A token of the admin, wrong in what is given. */
  async function signed(odd: Partial<Parameters<Cast["key"]["sign"]>[0]>): Promise<string> {
    const { subject, permissions } = claimsOf(await tokenOf(shop.url));
    return cast.key.sign({ userId: subject, permissions, ...odd });
  }

  test("a token made in the same way, with nothing wrong, lets the admin in", async () => {
    const headers = { authorization: `Bearer ${await signed({})}` };
    const outcome = await attempt(open["gRPC"] as Transport, listUsers, { pageSize: 1 }, headers);
    expect(outcome.code).toBe("Ok");
  });

  test.each(useless)("nobody is let in by $what", async (token) => {
    const { reason, header } = token;
    // Logins are limited, and there are more of them here than of people.
    await cast.forgetLogins();
    const headers = { authorization: `Bearer ${await header()}` };
    const expected: Record<string, unknown> = {};
    const actual: Record<string, unknown> = {};
    await Promise.all(
      rows.map(async ({ rpc, method, expected: { anonymous } }, row) => {
        const make = async (transport: Transport) => {
          const outcome = await attempt(transport, method, cast.requestOf("anonymous", method), headers);
          cast.answered(outcome.response);
          return outcome;
        };
        // Each of them at every rpc, and every rpc by each way: who calls is found out before either matters.
        const outcomes = await inEachWay(method, make, useless.indexOf(token) + row);
        const told = anonymous === "missing" ? reason : shown(anonymous);
        const entries = Object.entries(outcomes);
        actual[rpc] = Object.fromEntries(entries.map(([way, outcome]) => [way, wordOf(outcome)]));
        expected[rpc] = Object.fromEntries(entries.map(([way]) => [way, told]));
      }),
    );
    expect(actual).toEqual(expected);
  });

  test.each(["Basic b3duZXI6cGFzc3dvcmQ=", "Bearer", "", "Bearer a b"])(
    "an Authorization header that says %j is no token",
    async (authorization) => {
      const outcome = await attempt(open["gRPC"] as Transport, getProfile, {}, { authorization });
      expect(outcome).toMatchObject({ code: "Unauthenticated" });
      expect(["TOKEN_INVALID", "TOKEN_MISSING"]).toContain(outcome.reason);
    },
  );
});

const getProfile = method("commerce.user.v1.UserService/GetProfile");
const listUsers = method("commerce.user.v1.UserService/ListUsers");

function method(name: string): DescMethod {
  const found = methods.get(name);
  if (!found) throw new Error(`there is no ${name}`);
  return found;
}

function claimsOf(token: string): { readonly subject: string; readonly permissions: readonly string[] } {
  const body = Buffer.from(token.split(".")[1] ?? "", "base64url").toString();
  const { sub, permissions } = JSON.parse(body) as { readonly sub: string; readonly permissions: readonly string[] };
  return { subject: sub, permissions };
}
