import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { pino } from "pino";
import { expect, test } from "vitest";
import { snippetsOf } from "../../scripts/docs/snippets.ts";
import { startEmbeddedPostgres } from "../../src/platform/embedded-postgres.ts";
import { registry } from "../../src/roles/registry.ts";
import { createAccount } from "../support/accounts.ts";
import { stockOf } from "../support/checkout.ts";
import { until } from "../support/conditions.ts";
import { bareEnv } from "../support/environment.ts";
import { makeFolder } from "../support/folders.ts";
import { startInstallation } from "../support/installation.ts";
import { freePort } from "../support/ports.ts";
import { clientsOf, protocols } from "../support/protocols.ts";

const top = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

const snippets = snippetsOf("README.md");
const startsRoles = ({ code }: (typeof snippets)[number]) => code.includes("npm start");
/** What a reader can paste while the shop runs. */
const ofRunning = snippets.filter((snippet) => !startsRoles(snippet));

test("what the README says to paste works, in the order in which it says so", { timeout: 120_000 }, async () => {
  await using shop = await startInstallation("one process");
  const password = "connect-commerce";
  const userdb = shop.databases["user"]?.url ?? "";
  await createAccount(shop.url, { email: "admin@example.com", password }, userdb, ["admin"]);
  await createAccount(shop.url, { email: "shopper@example.com", password }, userdb);
  const port = new URL(shop.url).port;
  const here = (code: string) => code.replaceAll("localhost:8080", `localhost:${port}`);
  const shell = ofRunning.filter(({ language }) => language === "sh").map(({ code }) => here(code));
  expect(shell.length).toBeGreaterThanOrEqual(4);
  const script = ["set -euo pipefail", ...shell].join("\n\necho; echo --- next\n\n");
  const { stdout } = await run("bash", ["-c", script], { cwd: top, env: { ...process.env, PORT: port } });
  const outputs = stdout.split("--- next\n");

  expect(outputs[1]).toContain('"itemsAmount":{"currencyCode":"EUR","amountMinor":"2580"}');
  expect(outputs[1]).toContain('"totalAmount":{"currencyCode":"EUR","amountMinor":"3070"}');
  expect(outputs[1]).toMatch(/"state":"ORDER_STATE_CONFIRMED".*"title":"Mug"/);
  expect(messagesOf(outputs[2] ?? "")).toMatchObject([
    {
      events: [
        { step: "ORDER_STEP_PLACED" },
        { step: "ORDER_STEP_STOCK_RESERVED" },
        { step: "ORDER_STEP_PAYMENT_AUTHORIZED" },
        { step: "ORDER_STEP_STOCK_COMMITTED" },
        { step: "ORDER_STEP_CONFIRMED" },
      ],
    },
    { payment: { state: "PAYMENT_STATE_CAPTURED", capturedAmount: { currencyCode: "EUR", amountMinor: "3070" } } },
    {
      balances: [
        { account: "provider:sandbox", amount: { currencyCode: "EUR", amountMinor: "3070" } },
        { account: "sales", amount: { currencyCode: "EUR", amountMinor: "-3070" } },
      ],
    },
    { order: { state: "ORDER_STATE_CANCELLED", refundedAmount: { amountMinor: "3070" } } },
  ]);
  expect(outputs[3]).toContain('"title":"Mug"');
  expect(outputs[4]).toMatch(/^\s*\{"products":\[.*"title":"Mug"/);
  expect(outputs[4]).toContain('{"order":{');
  expect(outputs[4]).toContain('{"result":{"products":[');
  expect(outputs[4]).toContain("\n\nevent: end\n");
  expect(outputs[4]).toContain('"type":"urn:connect-commerce:problem:INVALID_REQUEST"');
  expect(outputs[5]).toContain('"sku": "MUG-1"');
  expect(outputs[5]?.match(/"sequence"/g)).toHaveLength(3);
  expect(outputs[5]).toContain("SKU_UNAVAILABLE");
  expect(outputs[6]).toContain("300 products");
  // Ten came, two were put back; the order over REST takes one, and the two of the stream one and three.
  const clients = clientsOf(protocols.gRPC(shop.url));
  await until(async () => (await stockOf(clients, "MUG-1"))["onHand"] === 5n);

  for (const [index, { code }] of ofRunning.filter(({ language }) => language === "ts").entries()) {
    const file = `${top}.readme-${String(process.pid)}-${String(index)}.ts`;
    await writeFile(file, here(code));
    try {
      const { stdout: printed } = await run(process.execPath, [file], { cwd: top });
      expect(printed).toBe("Mug 1290n\n");
    } finally {
      await rm(file);
    }
  }
});

/** Messages that were printed one behind the other. */
function messagesOf(printed: string): unknown[] {
  return printed
    .trim()
    .replaceAll("}{", "}\n{")
    .split("\n")
    .map((message) => JSON.parse(message) as unknown);
}

test("the shop starts as roles in the way that the README says", { timeout: 120_000 }, async () => {
  const [snippet, ...others] = snippets.filter(startsRoles);
  expect(others).toEqual([]);
  // A server of its own: other tests use the same names of databases on theirs.
  await using folder = await makeFolder();
  const log = pino({ level: "silent" });
  const postgres = await startEmbeddedPostgres({ dataDir: folder.data, databases: [], log, fsync: false });
  const server = new URL(postgres.urlOf("postgres"));
  server.pathname = "";
  const script = snippet?.code.replace("postgres://me:secret@localhost:5432", server.href) ?? "";
  expect(script).toContain(server.href);
  const ports = await Promise.all(Object.keys(registry).map(async (role) => [role, await freePort()] as const));
  const env = Object.fromEntries(ports.map(([role, port]) => [`${role.toUpperCase()}_PORT`, String(port)]));
  const child = spawn("bash", ["-c", `set -euo pipefail\n${script}\nwait`], {
    cwd: top,
    env: { ...bareEnv, ...env },
    // A group of its own, so that all that it starts can be ended.
    detached: true,
    stdio: "ignore",
  });
  const closed = once(child, "close");
  try {
    for (const [, port] of ports) {
      await until(
        async () => (await fetch(`http://127.0.0.1:${String(port)}/readyz`).catch(() => undefined))?.ok === true,
        60_000,
      );
    }
    const answer = await fetch(
      `http://127.0.0.1:${env["GATEWAY_PORT"] ?? ""}/commerce.product.v1.ProductService/QueryProducts`,
      {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{}",
      },
    );
    expect(answer.status).toBe(200);
  } finally {
    process.kill(-(child.pid ?? 0), "SIGTERM");
    await closed;
    await postgres.stop();
  }
});
