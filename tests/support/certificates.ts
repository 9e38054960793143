import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { pairIn } from "../../src/commands/make-certificates.ts";
import type { Environment } from "../../src/platform/environment.ts";
import { outputOf, runNode } from "./commands.ts";

/** Certificates of an authority of their own, one a role. */
export interface TestCertificates {
  readonly folder: string;
  /** Of the authority, in PEM. */
  readonly ca: string;
  /** Of a role, in PEM. */
  pair(role: string): { readonly cert: string; readonly key: string };
  /** What a role's process is started with. */
  env(role: string): Environment;
}

/** Makes certificates as operators do, in a folder that is removed after the tests of the file. */
export async function makeTestCertificates(): Promise<TestCertificates> {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-tls-"));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  outputOf(await runNode("src/commands/certs.ts", [folder]));
  const read = (file: string) => readFileSync(file, "utf8");
  return {
    folder,
    ca: read(pairIn(folder, "ca").cert),
    pair(role) {
      const { cert, key } = pairIn(folder, role);
      return { cert: read(cert), key: read(key) };
    },
    env(role) {
      const { cert, key } = pairIn(folder, role);
      return { TLS_CERT_FILE: cert, TLS_KEY_FILE: key, TLS_CA_FILE: pairIn(folder, "ca").cert };
    },
  };
}
