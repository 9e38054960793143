import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { outputOf, runNode } from "../../tests/support/commands.ts";
import { registry } from "../roles/registry.ts";
import { makeCertificates, pairIn } from "./make-certificates.ts";

const folder = mkdtempSync(join(tmpdir(), "connect-commerce-certs-test-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

test("what is there stays, and keys are their owner's alone", () => {
  const at = join(folder, "again");
  expect(makeCertificates(at, ["user", "order"])).toEqual(["user", "order"]);
  const { cert, key } = pairIn(at, "user");
  expect(statSync(key).mode & 0o777).toBe(0o600);
  const first = readFileSync(cert, "utf8");
  rmSync(pairIn(at, "order").cert);
  expect(() => makeCertificates(at, ["user", "order"])).toThrow(/order-cert.pem is missing/);
  rmSync(pairIn(at, "order").key);
  expect(makeCertificates(at, ["user", "order"])).toEqual(["order"]);
  expect(readFileSync(cert, "utf8")).toBe(first);
  const renewed = new X509Certificate(readFileSync(pairIn(at, "order").cert));
  expect(renewed.checkIssued(new X509Certificate(readFileSync(pairIn(at, "ca").cert)))).toBe(true);
  expect(renewed.subjectAltName).toBe("DNS:order, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1");
});

test("the command makes all of them, and says what to paste", async () => {
  const at = join(folder, "all");
  const printed = outputOf(await runNode("src/commands/certs.ts", [at]));
  expect(printed).toContain(`TLS_CERT_FILE=${at}/gateway-cert.pem\nTLS_KEY_FILE=${at}/gateway-key.pem\n`);
  expect(printed).toContain("ORDER_URL=https://order:8083\n");
  const files = Object.keys(registry).flatMap((role) => [`${role}-cert.pem`, `${role}-key.pem`]);
  expect(readdirSync(at).sort()).toEqual([...files, "ca-cert.pem", "ca-key.pem"].sort());
});

test("without openssl the command says so", async () => {
  const { code, stderr } = await runNode("src/commands/certs.ts", [join(folder, "none")], {
    env: { PATH: "/nowhere" },
  });
  expect([code, stderr]).toEqual([1, expect.stringContaining("openssl is not on the PATH")]);
});
