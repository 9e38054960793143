import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { System } from "../../src/platform/boot.ts";
import { boot } from "../../src/platform/boot.ts";
import { anonymous } from "../../src/platform/call.ts";
import { parseConfig } from "../../src/platform/config.ts";
import type { RawRequest } from "../../src/platform/raw-routes.ts";
import { targetOf } from "../../src/platform/raw-routes.ts";
import type { Registry } from "../../src/platform/role.ts";
import { defineRole } from "../../src/platform/role.ts";
import { topologies } from "../support/installation.ts";

/** What the handler saw, so that bytes and headers can be compared. */
const seen: RawRequest[] = [];

const hooks = defineRole({
  config: {},
  start: () => ({
    services: [],
    routes: [
      {
        method: "POST",
        path: "/webhooks/:provider",
        maxBytes: 1_000,
        headers: ["stripe-signature", "content-type"],
        access: "public",
        handle: (request) => {
          seen.push(request);
          const headers = { "content-type": "application/octet-stream", "x-of-the-role": "yes" };
          return Promise.resolve({ status: 202, headers, body: request.body });
        },
      },
      {
        method: "GET",
        path: "/page",
        maxBytes: 0,
        access: "public",
        handle: ({ query }) =>
          Promise.resolve({
            status: 200,
            headers: { "content-type": "text/html" },
            body: `<p>${query.get("q") ?? ""}</p>`,
          }),
      },
      {
        method: "GET",
        path: "/broken",
        maxBytes: 0,
        access: "public",
        handle: () => Promise.reject(new Error("secret detail")),
      },
      {
        method: "GET",
        path: "/away",
        maxBytes: 0,
        access: "public",
        handle: () => Promise.reject(Object.assign(new Error("shutting down"), { code: "57P01" })),
      },
    ],
  }),
});

/** An edge that serves nothing but what roles route. */
const gateway = defineRole({
  config: {},
  start: () => ({ services: [], identify: () => Promise.resolve({ subject: anonymous }) }),
});

const registry: Registry = {
  gateway: { port: 0, services: [], database: false, edge: true, load: () => Promise.resolve({ default: gateway }) },
  hooks: { port: 0, services: [], database: false, load: () => Promise.resolve({ default: hooks }) },
};

function start(roles: readonly string[], env: Record<string, string> = {}): Promise<System> {
  const known = Object.fromEntries(
    Object.entries(registry).map(([role, entry]) => [role, { edge: false, ...entry, config: {} }]),
  );
  const environment = {
    TOKEN_SECRET: "a secret of the tests, at least 32 characters",
    // Nobody there: what these roles do needs none.
    BUS_URL: "amqp://127.0.0.1:9",
    LISTEN_HOST: "127.0.0.1",
    ...env,
  };
  const config = parseConfig(environment, known, roles);
  return boot({ registry, config, definitions: { gateway, hooks }, log: pino({ level: "silent" }) });
}

describe.each(topologies)("raw routes through the gateway in %s", (topology) => {
  const running: System[] = [];
  let url = "";

  beforeAll(async () => {
    if (topology === "one process") {
      running.push(await start(["gateway", "hooks"]));
    } else {
      const role = await start(["hooks"]);
      running.push(role);
      running.unshift(await start(["gateway"], { HOOKS_URL: `http://127.0.0.1:${String(role.ports["hooks"])}` }));
    }
    url = `http://127.0.0.1:${String(running[0]?.ports["gateway"])}/-/hooks`;
  });
  afterAll(async () => {
    for (const system of running) await system.stop();
  });

  test("bytes and the listed headers arrive untouched, and the answer comes back as it is", async () => {
    const body = Buffer.from([0, 255, 13, 10, 123, 34]);
    const answer = await fetch(`${url}/webhooks/stripe?x=1`, {
      method: "POST",
      headers: { "stripe-signature": "t=1,v1=abc", "content-type": "application/json", "x-other": "unlisted" },
      body,
    });
    expect(answer.status).toBe(202);
    expect(answer.headers.get("x-of-the-role")).toBe("yes");
    expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(body);
    const request = seen.at(-1);
    expect(request?.body).toEqual(body);
    expect(request?.params).toEqual({ provider: "stripe" });
    expect(request?.headers).toEqual({ "stripe-signature": "t=1,v1=abc", "content-type": "application/json" });
  });

  test("pages answer GET; an unknown path is 404; a body over the route's limit is 413", async () => {
    expect(await (await fetch(`${url}/page?q=a%20b`)).text()).toBe("<p>a b</p>");
    expect((await fetch(`${url}/nothing`)).status).toBe(404);
    expect((await fetch(`${url}/webhooks/x`, { method: "POST", body: "x".repeat(1_001) })).status).toBe(413);
  });

  test("a role whose database is away says so, and when to come again", async () => {
    const answer = await fetch(`${url}/away`);
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(await answer.text()).toContain("PEER_DOWN");
  });

  test("a failure of the role is masked", async () => {
    const answer = await fetch(`${url}/broken`);
    expect(answer.status).toBe(500);
    const text = await answer.text();
    expect(text).toContain("INTERNAL");
    expect(text).not.toContain("secret detail");
  });
});

test("a role that does not answer is 503, with the time to come back", async () => {
  const gatewayAlone = await start(["gateway"], { HOOKS_URL: "http://127.0.0.1:9" });
  try {
    const answer = await fetch(`http://127.0.0.1:${String(gatewayAlone.ports["gateway"])}/-/hooks/page`);
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("1");
    expect(await answer.json()).toMatchObject({ code: "unavailable" });
  } finally {
    await gatewayAlone.stop();
  }
});

test("only what is below a role's own path is passed on to it", () => {
  const to = new URL("http://role:8081");
  const targets = [
    "/-/hooks/page?q=1",
    "/-/hooks/%2e%2e/%2e%2e/readyz",
    "/-/hooks/../../livez",
    "http://other/-/hooks/x",
    "//other/-/hooks/x",
    "/-/other/x",
  ];
  expect(targets.map((path) => targetOf(path, "hooks", to)?.href)).toEqual([
    "http://role:8081/-/hooks/page?q=1",
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});
