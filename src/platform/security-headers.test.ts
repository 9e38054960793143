import { expect, test } from "vitest";
import { html, htmlPage } from "./html-page.ts";
import { getUserPath, startServer } from "./server.fixture.ts";

const browsers = { origins: [] };
const json = { "content-type": "application/json" };

const expected = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

function named(headers: Headers): Record<string, string | null> {
  return Object.fromEntries(Object.keys(expected).map((name) => [name, headers.get(name)]));
}

test.each<[string, number, string, RequestInit?]>([
  ["a call", 200, getUserPath, { method: "POST", headers: json, body: '{"id":"1"}' }],
  ["a call's error", 404, getUserPath, { method: "POST", headers: json, body: '{"id":"absent"}' }],
  ["a malformed message", 400, getUserPath, { method: "POST", headers: json, body: "no JSON" }],
  ["gRPC-Web", 200, getUserPath, { method: "POST", headers: { "content-type": "application/grpc-web" }, body: "x" }],
  ["another verb", 405, getUserPath, { method: "DELETE" }],
  ["health", 200, "/livez"],
  ["no such path", 404, "/nothing"],
  ["a path that cannot be read", 400, "/%"],
])("%s has them, and does not say what serves it", async (_what, status, path, init) => {
  const { url } = await startServer({ browsers });
  const { status: got, headers } = await fetch(url + path, init);
  expect([got, named(headers)]).toEqual([status, expected]);
  expect([headers.get("server"), headers.get("x-powered-by"), headers.get("strict-transport-security")]).toEqual([
    null,
    null,
    null,
  ]);
});

test("a page keeps its own policy", async () => {
  const page = htmlPage(200, { title: "A page", body: html`<p>Hi</p>` });
  const { url } = await startServer({
    browsers,
    http: (app) => void app.get("/page", (_request, reply) => reply.headers({ ...page.headers }).send(page.body)),
  });
  const { headers } = await fetch(`${url}/page`);
  expect(named(headers)).toEqual({ ...expected, ...named(new Headers(page.headers)), ...kept });
  expect(headers.get("content-security-policy")).toContain("style-src 'sha256-");
});

/** What no page says of itself. */
const kept = { "cross-origin-resource-policy": "same-origin", "x-frame-options": "DENY" };

test("HTTPS is asked for only where a trusted proxy says that the client came by it", async () => {
  const asked = async (trustedProxies: string[], proto?: string) => {
    const { url } = await startServer({ browsers, trustedProxies });
    const headers = { ...(proto !== undefined && { "x-forwarded-proto": proto }) };
    const answers = [await fetch(`${url}/livez`, { headers }), await fetch(`${url}/nothing`, { headers })];
    return answers.map((answer) => answer.headers.get("strict-transport-security"));
  };
  const year = "max-age=31536000";
  expect(await asked(["127.0.0.1"], "https")).toEqual([year, year]);
  expect(await asked(["127.0.0.1"], "http")).toEqual([null, null]);
  expect(await asked(["127.0.0.1"])).toEqual([null, null]);
  expect(await asked(["10.0.0.0/8"], "https")).toEqual([null, null]);
  expect(await asked([], "https")).toEqual([null, null]);
});

test("the port of a role, where no browser comes, says none of it", async () => {
  const { url } = await startServer();
  const { headers } = await fetch(`${url}/livez`);
  expect(Object.values(named(headers)).filter((value) => value !== null)).toEqual([]);
});
