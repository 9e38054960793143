import { spawnSync } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const AUTHORITY_DAYS = "3650";
/** The most that browsers take. */
const ROLE_DAYS = "397";

/** Where a certificate and its key are. */
interface Pair {
  readonly cert: string;
  readonly key: string;
}

/**
 * Makes an authority, and for each role a certificate of its name and of this machine, where they are not there yet;
 * answers for which roles. Nothing is ever overwritten.
 * @throws Error where openssl is not there or fails, and where one file of a pair is missing
 */
export function makeCertificates(folder: string, roles: readonly string[]): string[] {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const authority = pairIn(folder, "ca");
  const missing = roles.filter((role) => isMissing(pairIn(folder, role)));
  const work = mkdtempSync(join(tmpdir(), "connect-commerce-certs-"));
  try {
    if (isMissing(authority)) makeAuthority(authority, work);
    for (const role of missing) makeOne(role, pairIn(folder, role), authority, work);
  } finally {
    rmSync(work, { recursive: true });
  }
  return missing;
}

/** The files of a role; `ca` is the authority. */
export function pairIn(folder: string, name: string): Pair {
  return { cert: join(folder, `${name}-cert.pem`), key: join(folder, `${name}-key.pem`) };
}

function isMissing({ cert, key }: Pair): boolean {
  if (existsSync(cert) === existsSync(key)) return !existsSync(cert);
  throw new Error(`${existsSync(cert) ? key : cert} is missing: put it back, or remove the other one of the two.`);
}

function makeAuthority(to: Pair, work: string): void {
  const config = writeConfig(work, [
    "basicConstraints=critical,CA:TRUE,pathlen:0",
    "keyUsage=critical,keyCertSign",
    "subjectKeyIdentifier=hash",
  ]);
  const name = ["-subj", "/CN=connect-commerce development"];
  const what = ["-config", config, "-extensions", "extensions", "-sha256", "-days", AUTHORITY_DAYS, ...serial()];
  writePair(to, (key) => openssl(["req", "-new", "-x509", "-key", key, ...name, ...what]));
}

function makeOne(role: string, to: Pair, authority: Pair, work: string): void {
  const config = writeConfig(work, [
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=serverAuth,clientAuth",
    `subjectAltName=DNS:${role},DNS:localhost,IP:127.0.0.1,IP:::1`,
    "subjectKeyIdentifier=hash",
    "authorityKeyIdentifier=keyid",
  ]);
  const by = ["-CA", authority.cert, "-CAkey", authority.key, ...serial()];
  const what = ["-extfile", config, "-extensions", "extensions", "-sha256", "-days", ROLE_DAYS];
  writePair(to, (key) => {
    const request = join(work, "request.pem");
    openssl(["req", "-new", "-key", key, "-subj", `/CN=${role}`, "-config", config, "-out", request]);
    return openssl(["x509", "-req", "-in", request, ...by, ...what]);
  });
}

function writeConfig(work: string, extensions: readonly string[]): string {
  const file = join(work, "config");
  writeFileSync(file, ["[req]", "distinguished_name=name", "[name]", "[extensions]", ...extensions, ""].join("\n"));
  return file;
}

/** Random, so that no two authorities of one name give the same: 127 bits, for it is a positive number. */
function serial(): string[] {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0] ?? 0) & 0x7f;
  return ["-set_serial", `0x${bytes.toString("hex")}`];
}

/** The key is our own making, so that nobody else can read it at any time. */
function writePair({ cert, key }: Pair, certify: (key: string) => string): void {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  writeFileSync(key, privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600, flag: "wx" });
  try {
    writeFileSync(cert, certify(key), { mode: 0o644, flag: "wx" });
  } catch (error) {
    rmSync(key);
    throw error;
  }
}

/** What it prints. */
function openssl(args: readonly string[]): string {
  const { error, status, stdout, stderr } = spawnSync("openssl", args, { encoding: "utf8" });
  if (error && "code" in error && error.code === "ENOENT") {
    throw new Error("openssl is not on the PATH: install it, or take certificates of another authority.");
  }
  if (error) throw error;
  if (status !== 0) throw new Error(`openssl ${args[0] ?? ""} failed:\n${stderr}`);
  return stdout;
}
