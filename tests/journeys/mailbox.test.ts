import { once } from "node:events";
import { request } from "node:http";
import type { IncomingHttpStatusHeader } from "node:http2";
import { connect as connectHttp2 } from "node:http2";
import { text } from "node:stream/consumers";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DeliveryState, NotificationService } from "#gen/commerce/notification/v1/notification_pb.ts";
import { WaitFor } from "#gen/commerce/order/v1/order_pb.ts";
import { until } from "../support/conditions.ts";
import type { Folder } from "../support/folders.ts";
import { makeFolder } from "../support/folders.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { ServerProcess } from "../support/process.ts";
import { startProcess } from "../support/process.ts";
import { clientsOf, protocols } from "../support/protocols.ts";
import type { SinkMail, SmtpSink } from "../support/smtp-sink.ts";
import { startSmtpSink } from "../support/smtp-sink.ts";

const connect = protocols["Connect JSON"];
const ada = { email: "ada@example.com", password: "the first password" };

describe.each(topologies)("mails of a shop that serves others, %s", (topology) => {
  const server = { user: "shop@example.com", pass: "p@ss of the mail server" };
  const publicUrl = "https://shop.example.com/store";
  let sink: SmtpSink;
  let shop: Installation;
  beforeAll(async () => {
    sink = await startSmtpSink(server);
    const login = `${encodeURIComponent(server.user)}:${encodeURIComponent(server.pass)}`;
    shop = await startInstallation(topology, {
      MAIL_URL: `smtp://${login}@${sink.host}:${String(sink.port)}`,
      MAIL_FROM: "The Shop <hello@shop.example.com>",
      SHOP_NAME: "The Shop",
      PUBLIC_URL: publicUrl,
    });
    await clientsOf(connect(shop.url, "nobody")).users.createUser({ ...ada, displayName: "Ada" });
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await sink[Symbol.asyncDispose]();
  });

  async function mailTo(email: string, subject: RegExp): Promise<SinkMail> {
    const isIt = ({ to, headers }: SinkMail) => to.includes(email) && subject.test(headers.get("subject") ?? "");
    await until(() => sink.mails.some(isIt), 20_000);
    const found = sink.mails.filter(isIt);
    expect(found).toHaveLength(1);
    return found[0] as SinkMail;
  }

  async function order(sku: string): Promise<string> {
    const { order: placed } = await clientsOf(connect(shop.url, ada)).orders.createOrder({
      items: [{ sku, quantity: 1 }],
      waitFor: WaitFor.SETTLED,
    });
    return placed?.id ?? "";
  }

  test("a new customer gets a mail whose link confirms the email", async () => {
    const mail = await mailTo(ada.email, /Welcome to The Shop/);
    expect(mail.from).toBe("hello@shop.example.com");
    const link = new URL(/https:\/\/\S+/.exec(mail.text)?.[0] ?? "");
    expect(`${link.origin}${link.pathname}`).toBe(`${publicUrl}/-/user/confirm-email`);
    await clientsOf(connect(shop.url, "nobody")).auth.confirmEmail({ token: link.hash.slice(1) });
    const { user } = await clientsOf(connect(shop.url, ada)).users.getProfile({});
    expect(user?.emailConfirmed).toBe(true);
    const printed = Object.values(shop.processes)
      .map((process) => process.output())
      .join("");
    for (const secret of [link.hash.slice(1), server.pass, encodeURIComponent(server.pass)]) {
      expect(printed).not.toContain(secret);
    }
  });

  test("one press ends the mails about orders", async () => {
    const admin = clientsOf(connect(shop.url));
    const sku = "MAIL-1";
    await admin.products.addProduct({
      title: "A mug",
      variants: [{ sku, price: { currencyCode: "EUR", amountMinor: 1_290n } }],
    });
    await admin.inventory.adjustStock({ sku, delta: 2n });
    const first = await order(sku);
    const mail = await mailTo(ada.email, /We have your order/);
    expect((await mailTo(ada.email, /Your order at The Shop is confirmed/)).text).toContain(first);
    expect(mail.text).toContain(first);
    expect(mail.headers.get("list-unsubscribe-post")).toBe("List-Unsubscribe=One-Click");
    const link = /^<(.*)>$/.exec(mail.headers.get("list-unsubscribe") ?? "")?.[1] ?? "";
    expect(link.startsWith(`${publicUrl}/-/notification/unsubscribe?token=`)).toBe(true);
    // What is in front of the shop takes its own path away.
    const here = `${shop.url}${link.slice(publicUrl.length)}`;
    const form = { "content-type": "application/x-www-form-urlencoded" };
    const pressed = await fetch(here, { method: "POST", headers: form, body: "List-Unsubscribe=One-Click" });
    expect(pressed.status).toBe(200);
    expect((await fetch(`${shop.url}/-/notification/unsubscribe?token=x`, { method: "POST" })).status).toBe(400);

    await order(sku);
    const own = createClient(NotificationService, connect(shop.url, ada));
    const listed = async () => (await own.listDeliveries({})).deliveries;
    await until(async () => (await listed()).length === 5, 20_000);
    expect((await listed()).map(({ template, state, error }) => [template, state, error])).toEqual([
      ["order-confirmed", DeliveryState.SUPPRESSED, "PREFERENCE"],
      ["order-placed", DeliveryState.SUPPRESSED, "PREFERENCE"],
      ["order-confirmed", DeliveryState.SENT, ""],
      ["order-placed", DeliveryState.SENT, ""],
      ["welcome", DeliveryState.SENT, ""],
    ]);
  });

  test("has no mailbox page", async () => {
    expect((await fetch(`${shop.url}/-/notification/mailbox`)).status).toBe(404);
  });
});

describe("the mailbox of a shop that is tried out", () => {
  let folder: Folder;
  let shop: ServerProcess;
  beforeAll(async () => {
    folder = await makeFolder();
    shop = await startProcess({ DATA_DIR: folder.data, PORT: "0" }, folder.path);
  });
  afterAll(async () => {
    await shop[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  /** fetch sets the host itself. */
  async function get(path: string, headers: Readonly<Record<string, string>> = {}) {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
    const port = shop.ports["gateway"];
    request({ host: "127.0.0.1", port, path, headers }, (answer) => {
      text(answer).then((body) => {
        resolve({ status: answer.statusCode ?? 0, body });
      }, reject);
    })
      .on("error", reject)
      .end();
    return promise;
  }

  /** The status by HTTP/2, whose host stands elsewhere; of a POST where there is a body. */
  async function statusByHttp2(path: string, authority: string, body?: string): Promise<number | undefined> {
    const session = connectHttp2(`http://127.0.0.1:${String(shop.ports["gateway"])}`);
    try {
      const post = { ":method": "POST", "content-type": "application/json" };
      const stream = session.request({ ":path": path, ":authority": authority, ...(body !== undefined && post) });
      const response = once(stream, "response");
      stream.end(body);
      const [headers] = (await response) as [IncomingHttpStatusHeader];
      return headers[":status"];
    } finally {
      session.destroy();
    }
  }

  test("is not there for who comes by HTTP/2 for another host", async () => {
    const page = "/-/notification/mailbox";
    expect(await statusByHttp2(page, "localhost:8080")).toBe(200);
    expect(await statusByHttp2(page, "shop.example.com")).toBe(404);
  });

  test("lets nobody log in who comes by HTTP/2 for another host", async () => {
    const login = "/commerce.user.v1.AuthService/Login";
    const body = JSON.stringify({ email: "shopper@example.com", password: "connect-commerce" });
    expect(await statusByHttp2(login, "localhost:8080", body)).toBe(200);
    expect(await statusByHttp2(login, "shop.example.com", body)).toBe(403);
  });

  test("shows what would be sent, to this machine alone", async () => {
    const url = `http://127.0.0.1:${String(shop.ports["gateway"])}`;
    await clientsOf(connect(url, "nobody")).users.createUser({ ...ada, displayName: "<i>Ada</i>" });
    const page = "/-/notification/mailbox";
    await until(async () => (await get(page)).body.includes("ada@example.com"), 20_000);
    const { body } = await get(page);
    expect(body).toContain("&lt;i&gt;Ada&lt;/i&gt;");
    const mail = /href="mailbox\/(?<id>[\da-f-]+)"/.exec(body)?.groups?.["id"] ?? "";
    for (const part of ["", "/html", "/raw"]) expect((await get(`${page}/${mail}${part}`)).status).toBe(200);
    for (const headers of [{ host: "shop.example.com" }, { "x-forwarded-for": "192.0.2.1" }, { forwarded: "for=x" }]) {
      for (const path of [page, `${page}/${mail}`, `${page}/${mail}/html`, `${page}/${mail}/raw`]) {
        const answer = await get(path, headers);
        expect([answer.status, answer.body.includes("Ada")]).toEqual([404, false]);
      }
    }
  });
});
