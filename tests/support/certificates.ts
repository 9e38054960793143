import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { makeCertificates, pairIn } from "../../src/commands/make-certificates.ts";
import type { Environment } from "../../src/platform/environment.ts";
import { registry } from "../../src/roles/registry.ts";

type Pair = ReturnType<typeof pairIn>;

/** Certificates of an authority of their own, one a role. */
export interface TestCertificates {
  readonly folder: string;
  /** Of the authority, in PEM. */
  readonly ca: string;
  /** Of a role, in PEM. */
  readonly pair: (role: string) => Pair;
  /** The files of a role. */
  readonly files: (role: string) => Pair;
  /** What a role's process is started with. */
  readonly env: (role: string) => Environment;
}

/** Makes certificates as `npm run certs` does, in a folder that is removed after the tests of the file. */
export function makeTestCertificates(): TestCertificates {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-tls-"));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  makeCertificates(folder, Object.keys(registry));
  const files = (role: string) => pairIn(folder, role);
  const read = (file: string) => readFileSync(file, "utf8");
  return {
    folder,
    ca: read(files("ca").cert),
    pair: (role) => ({ cert: read(files(role).cert), key: read(files(role).key) }),
    files,
    env: (role) => ({
      TLS_CERT_FILE: files(role).cert,
      TLS_KEY_FILE: files(role).key,
      TLS_CA_FILE: files("ca").cert,
    }),
  };
}
