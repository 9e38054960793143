import { text } from "node:stream/consumers";
import type { ConnectionOptions } from "node:tls";
import { connect, getCACertificates, setDefaultCACertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { OrderState } from "#gen/commerce/order/v1/order_pb.ts";
import { registry } from "../../src/roles/registry.ts";
import { makeTestCertificates } from "../support/certificates.ts";
import { outputOf, runNode } from "../support/commands.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation } from "../support/installation.ts";
import type { Protocol } from "../support/protocols.ts";
import { launchProcess } from "../support/process.ts";
import { endOf, newBuyer } from "./checkout-shop.ts";
import { decision } from "./checkout-ways.ts";

const ours = makeTestCertificates();
const theirs = makeTestCertificates();
// What clients of this file believe, and nothing that they start.
setDefaultCACertificates([...getCACertificates(), ours.ca]);

const protocols = ["gRPC", "REST"] as const satisfies readonly Protocol[];

function checksOut(shop: () => Installation): void {
  test.each(protocols)("checks out over %s", async (protocol) => {
    expect(shop().url).toMatch(/^https:/);
    const buyer = await newBuyer(shop(), protocol);
    expect(endOf(await buyer.order())).toBe("CONFIRMED");
  });

  test("has its buyer confirm a payment, at the page of a role", async () => {
    const buyer = await newBuyer(shop());
    const { id, nextAction } = await buyer.order({ paymentMethodToken: "tok_requires_action" });
    const page = nextAction?.redirectUrl ?? "";
    expect(page).toMatch(new RegExp(`^https://localhost:${new URL(shop().url).port}/-/sandbox/`));
    expect(await (await fetch(page)).text()).toContain("15.35 EUR");
    expect((await fetch(page, decision("approve"))).status).toBe(303);
    expect(endOf(await buyer.readOnce(id, ({ state }) => state !== OrderState.AWAITING_PAYMENT))).toBe("CONFIRMED");
  });
}

describe("a process per role, each with its certificate", () => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await startInstallation("a process per role", (role) => ({
      ...(role !== "all" && ours.env(role)),
      TLS_CLIENT_CERTS: "required",
    }));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  checksOut(() => shop);

  test("serves roles to those who show a certificate of the authority, and the shop to everybody", async () => {
    const outcomes = async (role: string) => {
      const port = shop.processes[role]?.ports[role] ?? 0;
      const shown = [{}, theirs.pair("order"), ours.pair("order")];
      return Promise.all(shown.map((pair) => livez(port, pair)));
    };
    for (const role of Object.keys(registry)) {
      expect(await outcomes(role), role).toEqual(role === "gateway" ? ["OK", "OK", "OK"] : ["no", "no", "OK"]);
    }
    const why = await shop.processes["user"]?.logged(({ msg }) => msg === "TLS handshake failed");
    expect(why).toMatchObject({ role: "user", address: "127.0.0.1" });
  });
});

/** Whether a port answers who shows this. */
async function livez(port: number, pair: ConnectionOptions): Promise<"OK" | "no"> {
  const socket = connect({ port, ...pair });
  socket.on("secureConnect", () => socket.write("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
  const answer = await text(socket).catch(() => "");
  return answer.startsWith("HTTP/1.1 200") ? "OK" : "no";
}

describe("the whole shop in one process", () => {
  let shop: Installation;
  beforeAll(async () => {
    shop = await startInstallation("one process", ours.env("gateway"));
  });
  afterAll(() => shop[Symbol.asyncDispose]());

  checksOut(() => shop);

  test("says where it is, and its programs find it", async () => {
    const port = new URL(shop.url).port;
    expect(shop.processes["gateway"]?.output()).toContain(`connect-commerce runs at https://localhost:${port}\n`);
    const env = { ...ours.env("gateway"), PORT: port };
    const { password, email } = await newBuyer(shop).then(({ account }) => account);
    expect(outputOf(await runNode("src/commands/token.ts", [email], { env, input: `${password}\n` }))).toMatch(/^eyJ/);
  });
});

test("a certificate that cannot be used keeps it from starting, and it says why", async () => {
  const { TLS_KEY_FILE = "" } = theirs.env("gateway");
  await using shop = launchProcess({ ...ours.env("gateway"), TLS_KEY_FILE, DATA_DIR: "/nowhere" });
  expect(await shop.exited).toBe(1);
  expect(shop.output()).toMatch(/It cannot start: TLS_CERT_FILE and TLS_KEY_FILE: .* do not belong together/);
});
