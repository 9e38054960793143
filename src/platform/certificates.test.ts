import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:tls";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { makeTestCertificates } from "../../tests/support/certificates.ts";
import { until } from "../../tests/support/conditions.ts";
import { watchCertificates } from "./certificates.ts";
import { parseConfig } from "./config.ts";
import type { TlsConfig } from "./config-tls.ts";
import type { Environment } from "./environment.ts";
import { startServer } from "./server.fixture.ts";

const { folder, ca, pair, files, env } = makeTestCertificates();
const garbage = join(folder, "garbage.pem");
writeFileSync(garbage, "no PEM");

function configOf(environment: Environment): TlsConfig {
  const known = { gateway: { port: 1, database: false, edge: true, config: {} } };
  return parseConfig({ BUS_URL: "amqp://broker", ...environment }, known, undefined).tls;
}

function watch(environment: Environment) {
  const logged: Record<string, unknown>[] = [];
  const log = pino({ level: "info" }, { write: (line) => void logged.push(JSON.parse(line)) });
  const certificates = watchCertificates(configOf(environment), log, 20);
  onTestFinished(() => {
    certificates.close();
  });
  return { certificates, said: () => logged.map(({ msg, err }) => (err as Error | undefined)?.message ?? msg) };
}

test("without a certificate nothing is read, and nothing said", () => {
  const { certificates, said } = watch({});
  expect(certificates.current()).toEqual({ port: undefined, peer: undefined, ca: undefined });
  expect(said()).toEqual([]);
});

test("what the ports show is shown to other roles too, unless there is a pair for that", () => {
  const { TLS_CERT_FILE = "", TLS_KEY_FILE = "" } = env("user");
  const own = { TLS_PEER_CERT_FILE: TLS_CERT_FILE, TLS_PEER_KEY_FILE: TLS_KEY_FILE };
  expect(watch(env("order")).certificates.current()).toEqual({ port: pair("order"), peer: pair("order"), ca });
  expect(watch({ ...env("order"), ...own }).certificates.current()).toMatchObject({
    port: pair("order"),
    peer: pair("user"),
  });
  expect(watch(own).certificates.current()).toMatchObject({ port: undefined, peer: pair("user") });
});

test.each<[string, Environment, RegExp]>([
  ["a file that is not there", { TLS_CERT_FILE: "/nowhere" }, /^TLS_CERT_FILE: ENOENT.*\/nowhere/],
  ["a folder", { TLS_KEY_FILE: folder }, /^TLS_KEY_FILE: EISDIR/],
  ["no certificate", { TLS_CERT_FILE: garbage }, /^TLS_CERT_FILE: .*garbage.pem holds no certificate in PEM/],
  ["no key", { TLS_KEY_FILE: garbage }, /^TLS_KEY_FILE: .*garbage.pem holds no private key without a password in PEM/],
  ["no authority", { TLS_CA_FILE: garbage }, /^TLS_CA_FILE: .*garbage.pem holds no certificate in PEM/],
  ["another's key", { TLS_KEY_FILE: files("user").key }, /do not belong together/],
])("%s is refused", (_what, wrong, message) => {
  expect(() => watch({ ...env("order"), ...wrong })).toThrow(message);
});

test("a renewed certificate is shown without a restart; a half or broken one is told of once, and the old one stays", async () => {
  const [cert, key] = [join(folder, "renewed.pem"), join(folder, "renewed-key.pem")];
  copyFileSync(files("gateway").cert, cert);
  copyFileSync(files("gateway").key, key);
  const { certificates, said } = watch({ TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
  const { url, port } = await startServer({ tls: { certificates } });
  const shown = async () => {
    const socket = connect({ port, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  const fingerprintOf = (file: string) => new X509Certificate(readFileSync(file)).fingerprint256;
  const old = fingerprintOf(cert);
  const before = connectHttp2(url, { rejectUnauthorized: false });
  await once(before, "remoteSettings");
  expect(await shown()).toBe(old);

  const next = files("user");
  copyFileSync(next.cert, cert);
  await until(() => said().length === 2);
  expect(said()[1]).toMatch(/do not belong together/);
  expect(await shown()).toBe(old);
  rmSync(cert);
  await until(() => said().length === 3);
  expect(said()[2]).toMatch(/^TLS_CERT_FILE: ENOENT/);
  expect(await shown()).toBe(old);

  copyFileSync(next.cert, cert);
  copyFileSync(next.key, key);
  await until(async () => (await shown()) !== old);
  expect(await shown()).toBe(fingerprintOf(cert));
  expect(said()).toEqual(["certificate", expect.anything(), expect.anything(), "certificate"]);
  // Whoever came before goes on.
  const stream = before.request({ ":path": "/livez" });
  expect((await once(stream, "response"))[0]).toMatchObject({ ":status": 200 });
  before.destroy();
});
