import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { ConnectionOptions } from "node:tls";
import { connect, createServer } from "node:tls";
import type { FastifyInstance } from "fastify";
import { describe, expect, onTestFinished, test } from "vitest";
import { makeTestCertificates } from "../../tests/support/certificates.ts";
import { until } from "../../tests/support/conditions.ts";
import type { Certificates, TlsMaterial } from "./certificates.ts";
import { openConnections } from "./clients/connections.ts";
import { createPeerFetch } from "./peer-fetch.ts";
import { startServer } from "./server.fixture.ts";

const ours = makeTestCertificates();
const theirs = makeTestCertificates();
const material = (role: string, from = ours): TlsMaterial => ({
  port: from.pair(role),
  peer: from.pair(role),
  ca: from.ca,
});

function fixed(current: TlsMaterial): Certificates {
  return { current: () => current, onRenewed: () => undefined, close: () => undefined };
}

/** The port of the role order, for users alone. */
function startOrder(http?: (app: FastifyInstance) => void) {
  const tls = { certificates: fixed(material("order")), clientNames: ["user"] };
  return startServer({ tls, ...(http && { http }) });
}

/** What becomes of a connection to a role's port with these certificates: OK, or why not. */
async function outcomeOf(port: number, options: ConnectionOptions): Promise<string> {
  const socket = connect({ port, ca: ours.ca, ...options });
  onTestFinished(() => void socket.destroy());
  socket.on("secureConnect", () => socket.write("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
  return text(socket).then(
    (answer) => (answer.startsWith("HTTP/1.1 200") ? "OK" : "closed"),
    (error: NodeJS.ErrnoException) => String(error.code),
  );
}

describe("a port that asks for certificates", () => {
  test("serves who shows one of its authority that names a role, and nobody else", async () => {
    const { port, logged } = await startOrder();
    const whys = () => logged.filter(({ msg }) => msg === "TLS handshake failed").map(({ why }) => why);
    expect(await outcomeOf(port, ours.pair("user"))).toBe("OK");
    expect(whys()).toEqual([]);
    expect(await outcomeOf(port, {})).toBe("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED");
    expect(await outcomeOf(port, theirs.pair("user"))).toMatch(/ECONNRESET|EPIPE|closed/);
    expect(await outcomeOf(port, ours.pair("sandbox"))).toMatch(/ECONNRESET|EPIPE|closed/);
    await until(() => whys().length === 3);
    expect(whys()).toEqual([
      expect.stringContaining("peer did not return a certificate"),
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "the certificate of the client names no role",
    ]);
  });

  test("knows who resumes a session, and resumes none of before a renewal", async () => {
    let renew = () => undefined as void;
    const certificates = { ...fixed(material("order")), onRenewed: (listener: () => void) => void (renew = listener) };
    const { port } = await startServer({ tls: { certificates, clientNames: ["user"] } });
    const visit = async (session?: Buffer) => {
      const socket = connect({ port, ca: ours.ca, ...ours.pair("user"), ...(session && { session }) });
      let ticket = Buffer.alloc(0);
      socket.on("session", (latest) => (ticket = latest));
      await once(socket, "secureConnect");
      const isResumed = socket.isSessionReused();
      socket.write("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      const answer = (await text(socket)).split("\r\n")[0];
      return { ticket, isResumed, answer };
    };
    const { ticket } = await visit();
    const answer = "HTTP/1.1 200 OK";
    expect(await visit(ticket)).toMatchObject({ isResumed: true, answer });
    renew();
    expect(await visit(ticket)).toMatchObject({ isResumed: false, answer });
  });

  test("is reached by a role, which sees whom it reaches", async () => {
    const { url, port } = await startOrder();
    const reach = (at: string, current: TlsMaterial) => {
      const connections = openConnections(new URL(at), fixed(current));
      onTestFinished(() => {
        connections.close();
      });
      return connections.next("call").then((way) => way.reach(undefined));
    };
    await reach(url, material("user"));
    await reach(url, { ...material("user"), ca: theirs.ca + ours.ca });
    await reach(`https://localhost:${String(port)}`, material("user"));
    for (const ca of [theirs.ca, undefined]) {
      await expect(reach(url, { ...material("user"), ca })).rejects.toThrow(/self-signed certificate/);
    }
    await expect(reach(otherName(port), material("user"))).rejects.toThrow(/does not match/);
  });

  test("is asked for by the name that it is known by, whatever its address", async () => {
    const asked: unknown[] = [];
    const server = createServer({ ...ours.pair("order"), ALPNProtocols: ["h2"] }, ({ servername }) => {
      asked.push(servername);
    });
    onTestFinished(() => void server.close());
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    const connections = openConnections(new URL(`https://localhost:${String(port)}`), fixed(material("user")));
    void connections.next("call").then((way) => way.reach(undefined).catch(() => undefined));
    await until(() => asked.length > 0);
    connections.close();
    expect(asked[0]).toBe("localhost");
  });
});

describe("a request to a role", () => {
  const { signal } = new AbortController();
  const echo = (app: FastifyInstance) => {
    app.post("/echo", (asked, reply) => {
      void reply.headers({ "set-cookie": ["a=1", "b=2"], location: "/elsewhere" });
      return reply.code(302).send({ body: asked.body, type: asked.headers["content-type"], x: asked.headers["x-a"] });
    });
    app.get("/nothing", (_asked, reply) => reply.code(204).send());
  };

  test("and its answer go as they are", async () => {
    const { url } = await startOrder(echo);
    const fetchPeer = createPeerFetch(fixed(material("user")), () => false);
    const headers = { "content-type": "application/json", "x-a": "b" };
    const answer = await fetchPeer(`${url}/echo`, { method: "POST", headers, body: '{"a":"ü"}', signal });
    expect([answer.status, answer.headers.getSetCookie(), answer.headers.get("location")]).toEqual([
      302,
      ["a=1", "b=2"],
      "/elsewhere",
    ]);
    expect(await answer.json()).toEqual({ body: { a: "ü" }, type: "application/json", x: "b" });
    expect((await fetchPeer(`${url}/nothing`, { signal })).status).toBe(204);
  });

  test("ends with its signal, also in the middle of the answer", async () => {
    const begun = Promise.withResolvers<void>();
    const { url } = await startOrder((app) => {
      app.get("/silent", () => new Promise<never>(() => undefined));
      app.get("/half", (_asked, reply) => {
        reply.hijack();
        reply.raw.write("half", () => begun.resolve());
      });
    });
    const fetchPeer = createPeerFetch(fixed(material("user")), () => false);
    for (const path of ["/silent", "/half"]) {
      const abort = new AbortController();
      const sent = fetchPeer(url + path, { signal: abort.signal });
      if (path === "/half") await begun.promise;
      abort.abort();
      await expect(sent).rejects.toThrow(/abort/);
    }
  });

  test("sees whom it reaches: the authority and the name; at home the very certificate", async () => {
    const { url, port } = await startOrder();
    const livez = (current: TlsMaterial, isOwn: boolean, at: string) =>
      createPeerFetch(fixed(current), () => isOwn)(`${at}/livez`, { signal }).then(({ status }) => status);
    expect(await livez(material("user"), false, url)).toBe(200);
    await expect(livez({ ...material("user"), ca: theirs.ca }, false, url)).rejects.toThrow(/self-signed certificate/);
    await expect(livez(material("user"), false, otherName(port))).rejects.toThrow(/does not match/);
    const home: TlsMaterial = { port: ours.pair("order"), peer: ours.pair("user"), ca: undefined };
    expect(await livez(home, true, otherName(port))).toBe(200);
    await expect(livez({ ...home, port: ours.pair("user") }, true, url)).rejects.toThrow(/certificate/);
  });

  test("shows a renewed certificate", async () => {
    const { url } = await startOrder();
    let current = material("sandbox");
    const fetchPeer = createPeerFetch({ ...fixed(current), current: () => current }, () => false);
    await expect(fetchPeer(`${url}/livez`, { signal })).rejects.toThrow(/ECONNRESET|EPIPE|socket hang up/);
    current = material("user");
    expect((await fetchPeer(`${url}/livez`, { signal })).status).toBe(200);
  });
});

/** An address of this machine that no certificate here has. */
function otherName(port: number): string {
  return `https://[::ffff:127.0.0.1]:${String(port)}`;
}
