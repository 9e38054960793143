import { once } from "node:events";
import type { ClientHttp2Session } from "node:http2";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import type { Socket } from "node:net";
import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import tls, { connect } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { describe, expect, onTestFinished, test } from "vitest";
import { OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { makeTestCertificates } from "../../tests/support/certificates.ts";
import { until } from "../../tests/support/conditions.ts";
import type { Certificates } from "./certificates.ts";
import { getUserPath, startServer } from "./server.fixture.ts";
import type { ServerOptions } from "./server.ts";

const made = makeTestCertificates();
const { ca } = made;

/** That never change. */
function fixed(role = "gateway"): Certificates {
  const pair = made.pair(role);
  return { current: () => ({ port: pair, peer: pair, ca }), onRenewed: () => undefined, close: () => undefined };
}

function start(options: Partial<ServerOptions> = {}) {
  return startServer({ tls: { certificates: fixed() }, ...options });
}

const json = { "content-type": "application/json" };

/** A connection whose handshake is done. @throws Error as the other side has it */
async function shake(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: "127.0.0.1", ca, ...options });
  onTestFinished(() => void socket.destroy());
  await once(socket, "secureConnect");
  // The server may cut it before anybody listens.
  socket.on("error", () => undefined);
  return socket;
}

/** Resolves when a connection is over, well or not. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    // It may be over already.
    if (socket.closed) resolve();
    socket
      .on("error", () => undefined)
      .once("close", () => {
        resolve();
      });
    socket.resume();
  });
}

function openSession(url: string): ClientHttp2Session {
  const session = connectHttp2(url, { ca });
  onTestFinished(() => {
    session.destroy();
  });
  return session.on("error", () => undefined);
}

describe("a port with a certificate", () => {
  const nodeOptions = { ca };
  test.each([
    ["gRPC", (baseUrl: string) => createGrpcTransport({ baseUrl, nodeOptions })],
    ["Connect", (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "2", nodeOptions })],
    ["gRPC-Web", (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "2", nodeOptions })],
    ["Connect, HTTP/1.1", (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "1.1", nodeOptions })],
    ["gRPC-Web, HTTP/1.1", (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1", nodeOptions })],
  ])("answers %s", async (_name, transport) => {
    const { url } = await start();
    const client = createClient(UserService, transport(url));
    expect((await client.getUser({ id: "large" })).user?.displayName).toHaveLength(4_000);
    await expect(client.getUser({ id: "absent" })).rejects.toMatchObject({ rawMessage: "There is no user absent." });
  });

  test("streams both ways", async () => {
    const { url } = await start();
    const client = createClient(OrderService, createGrpcTransport({ baseUrl: url, nodeOptions }));
    async function* requests() {
      for (let sequence = 0; sequence < 50; sequence++) yield { sequence };
    }
    const answered: number[] = [];
    for await (const { sequence } of client.createOrders(requests())) answered.push(sequence);
    expect(answered).toEqual([...Array(50).keys()]);
  });

  test.each([
    [["h2", "http/1.1"], "h2"],
    [["http/1.1", "h2"], "h2"],
    [["http/1.1"], "http/1.1"],
    [undefined, false],
  ])("agrees with a client of %j on %s", async (offered, agreed) => {
    const { port } = await start();
    const socket = await shake(port, { ...(offered && { ALPNProtocols: offered }) });
    expect([socket.alpnProtocol, socket.getProtocol()]).toEqual([agreed, "TLSv1.3"]);
    if (agreed === "h2") return;
    socket.write("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    expect(await text(socket)).toContain('{"status":"ok"}');
  });

  // As old as they come.
  const ciphers = "DEFAULT@SECLEVEL=0";
  test.each<[string, ConnectionOptions, string]>([
    ["another protocol", { ALPNProtocols: ["spdy/3"] }, "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL"],
    ["TLS 1.1", { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers }, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"],
  ])("refuses %s, whatever node was started with, and says so in the log", async (_what, options, code) => {
    const usual = [tls.DEFAULT_CIPHERS, tls.DEFAULT_MIN_VERSION] as const;
    [tls.DEFAULT_CIPHERS, tls.DEFAULT_MIN_VERSION] = [ciphers, "TLSv1"];
    onTestFinished(() => void ([tls.DEFAULT_CIPHERS, tls.DEFAULT_MIN_VERSION] = usual));
    const { port, logged } = await start();
    await expect(shake(port, options)).rejects.toMatchObject({ code });
    await until(() => logged.length > 0);
    expect(logged).toEqual([
      expect.objectContaining({ msg: "TLS handshake failed", role: "test", address: "127.0.0.1" }),
    ]);
  });

  test("speaks TLS 1.2", async () => {
    const { port } = await start();
    expect((await shake(port, { maxVersion: "TLSv1.2" })).getProtocol()).toBe("TLSv1.2");
  });

  test("negotiates once: a client of TLS 1.2 that begins anew is cut", async () => {
    const { port } = await start();
    const socket = await shake(port, { maxVersion: "TLSv1.2" });
    const outcome = Promise.race([
      new Promise((resolve) => socket.renegotiate({ rejectUnauthorized: true }, () => resolve("anew"))),
      closed(socket).then(() => "cut"),
    ]);
    expect(await outcome).toBe("cut");
  });

  test("says nothing in the log of a client that leaves without a word, as probes do", async () => {
    const { port, logged } = await start();
    const probe = connectTcp(port, "127.0.0.1");
    await once(probe, "connect");
    probe.end();
    await closed(probe);
    await expect(shake(port, { ALPNProtocols: ["other"] })).rejects.toThrow(/no application protocol/);
    await until(() => logged.length > 0);
    expect(logged).toHaveLength(1);
  });

  test("closes a connection in cleartext at once, without a word", async () => {
    const { port } = await start();
    for (const words of ["GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]) {
      const socket = connectTcp(port, "127.0.0.1");
      socket.write(words);
      const answer = await text(socket);
      expect(answer).not.toContain("HTTP");
      expect(Buffer.byteLength(answer)).toBeLessThan(20);
    }
  });

  test("asks browsers for HTTPS from now on, but not at localhost", async () => {
    const { port } = await start({ browsers: { origins: [] } });
    const asked = async (host: string) => {
      const sent = request({ port, path: "/livez", ca, servername: "localhost", headers: { host }, agent: false });
      sent.end();
      const [{ headers }] = await once(sent, "response");
      return headers["strict-transport-security"] as unknown;
    };
    expect(await asked("shop.example.com")).toBe("max-age=31536000");
    expect(await asked(`localhost:${String(port)}`)).toBeUndefined();
  });
});

describe("the limits of a port with a certificate", () => {
  test("a handshake that does not come, or drips, is cut", async () => {
    const { port } = await start({ limits: { silenceMs: 300 } });
    const startedAt = performance.now();
    const silent = connectTcp(port, "127.0.0.1");
    const dripping = connectTcp(port, "127.0.0.1");
    // The head of a record that says that 512 bytes of a handshake follow.
    dripping.write(Buffer.from("1603010200010001fc0303", "hex"));
    const drip = setInterval(() => dripping.write("x"), 20);
    await Promise.all([closed(silent), closed(dripping)]);
    clearInterval(drip);
    expect(performance.now() - startedAt).toBeGreaterThan(250);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test("what does not begin after its handshake is cut, over both protocols; so are headers that drip", async () => {
    const { port, url } = await start({ limits: { headersMs: 1_000, silenceMs: 1_000 } });
    const silent = await Promise.all([shake(port), shake(port, { ALPNProtocols: ["h2"] })]);
    const session = openSession(url);
    await once(session, "remoteSettings");
    const dripping = await shake(port, { ALPNProtocols: ["h2"] });
    // The preface, an empty SETTINGS frame, and a header block of 16,000 bytes with one header of 12,127.
    dripping.write(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "latin1"));
    dripping.write(Buffer.from("\0\x3e\x80\x01\0\0\0\0\x01\0\x01a\x7f\xe0\x5d", "latin1"));
    const drip = setInterval(() => dripping.write("b"), 20);
    await Promise.all([...silent, dripping].map(closed));
    clearInterval(drip);
    expect(session.destroyed).toBe(false);
  });

  test("a connection too many is closed at once, and an unused one in time", async () => {
    const { port, url } = await start({ limits: { maxConnections: 1, idleMs: 300 } });
    const session = openSession(url);
    await once(session, "remoteSettings");
    const second = connectTcp(port, "127.0.0.1");
    await closed(second);
    expect(second.bytesRead).toBe(0);
    expect(session.destroyed).toBe(false);
    await once(session, "close");
  });

  test("streams are limited", async () => {
    const { url } = await start({ limits: { maxConcurrentStreams: 3 } });
    const [settings] = await once(openSession(url), "remoteSettings");
    expect(settings).toMatchObject({ maxConcurrentStreams: 3 });
  });
});

describe("a port with a certificate that stops", () => {
  test("finishes calls over both protocols, says GOAWAY, and cuts handshakes that hang", async () => {
    const { server, url, port, held } = await start();
    const session = openSession(url);
    const stream = session.request({ ":method": "POST", ":path": getUserPath, ...json });
    stream.end('{"id":"held"}');
    const answer = text(stream);
    const sent = request(url + getUserPath, { method: "POST", headers: json, ca });
    sent.end('{"id":"held"}');
    const idle = await shake(port);
    const hanging = connectTcp(port, "127.0.0.1");
    await once(hanging, "connect");
    await until(() => held.count() === 2);
    const leaving = once(session, "goaway");
    const cut = [closed(hanging), closed(idle)];
    const stopped = server.close(10_000);
    // While calls run.
    await Promise.all([leaving, ...cut]);
    held.release();
    const [response] = await once(sent, "response");
    expect(response.headers.connection).toBe("close");
    expect(await text(response)).toContain('"id":"held"');
    expect(await answer).toContain('"id":"held"');
    await stopped;
  });

  test("cuts what does not end", async () => {
    const { server, url, held } = await start();
    const session = openSession(url);
    const stream = session.request({ ":method": "POST", ":path": getUserPath, ...json });
    stream.on("error", () => undefined).end('{"id":"held"}');
    const sent = request(url + getUserPath, { method: "POST", headers: json, ca });
    const failed = once(sent, "error");
    sent.end('{"id":"held"}');
    await until(() => held.count() === 2);
    const ended = once(session, "close");
    await server.close(50);
    await ended;
    expect((await failed)[0]).toBeInstanceOf(Error);
  });
});
