import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import type { SecureContextOptions } from "node:tls";
import { createSecureContext } from "node:tls";
import { isDeepStrictEqual } from "node:util";
import type { PairFiles, TlsConfig } from "./config-tls.ts";
import type { Logger } from "./logger.ts";

/** Milliseconds between two looks at the files. */
const LOOK_MS = 60_000;

/** The oldest version that is spoken, whatever node was started with: what RFC 9325 asks. */
export const MIN_VERSION = "TLSv1.2";

/** A certificate with its chain, and its key, in PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** What a process shows in TLS, and whom it believes. */
export interface TlsMaterial {
  /** Shown by the ports. */
  readonly port: KeyPair | undefined;
  /** Shown to other roles. */
  readonly peer: KeyPair | undefined;
  /** Where the certificates of other roles come from, in PEM; undefined: whom the system trusts. */
  readonly ca: string | undefined;
}

export interface Certificates {
  /** What counts now; another object once they were renewed. */
  current(): TlsMaterial;
  /** Told after each renewal. */
  onRenewed(listener: () => void): void;
  close(): void;
}

/** What a connection to another role shows and believes. */
export function peerOptions({ peer, ca }: TlsMaterial): SecureContextOptions {
  return { ...peer, ...(ca !== undefined && { ca }), minVersion: MIN_VERSION };
}

/**
 * Reads certificates, keys and authorities, and looks every minute whether they were renewed. New ones that cannot be
 * used, or of which one half is there yet, are logged once, and the old ones stay.
 * @param lookMs shorter ones are for tests
 * @throws Error where a file cannot be read, is not what it should be, or does not belong to its other half
 */
export function watchCertificates(config: TlsConfig, log: Logger, lookMs = LOOK_MS): Certificates {
  const listeners: (() => void)[] = [];
  let current = readMaterial(config);
  let complaint = "";
  tellOf(current, log);
  const timer = setInterval(look, lookMs).unref();

  function look(): void {
    try {
      const found = readMaterial(config);
      complaint = "";
      if (isDeepStrictEqual(found, current)) return;
      current = found;
      for (const listener of listeners) listener();
      tellOf(current, log);
    } catch (err) {
      const { message } = err as Error;
      if (message !== complaint) log.error({ err }, "renewed certificates cannot be used: the old ones stay");
      complaint = message;
    }
  }

  return {
    current: () => current,
    onRenewed: (listener) => void listeners.push(listener),
    close: () => {
      clearInterval(timer);
    },
  };
}

function readMaterial({ port, peer, caFile }: TlsConfig): TlsMaterial {
  const shown = port && readPair(port);
  return {
    port: shown,
    peer: peer === port ? shown : peer && readPair(peer),
    ca:
      caFile === undefined
        ? undefined
        : readPem("TLS_CA_FILE", caFile, "certificate", (pem) => new X509Certificate(pem)).pem,
  };
}

function readPair({ certFile, keyFile, named }: PairFiles): KeyPair {
  const cert = readPem(named.cert, certFile, "certificate", (pem) => new X509Certificate(pem));
  const key = readPem(named.key, keyFile, "private key without a password", createPrivateKey);
  if (!cert.parsed.checkPrivateKey(key.parsed)) {
    throw new Error(`${named.cert} and ${named.key}: ${certFile} and ${keyFile} do not belong together`);
  }
  const pair = { cert: cert.pem, key: key.pem };
  // Where the rest of the chain is broken, or its signature too weak, this is what says so.
  tried(named.cert, certFile, () => createSecureContext(pair));
  return pair;
}

function readPem<T>(name: string, file: string, what: string, parse: (pem: string) => T): { pem: string; parsed: T } {
  const pem = tried(name, undefined, () => readFileSync(file, "utf8"));
  const parsed = tried(name, `${file} holds no ${what} in PEM`, () => parse(pem));
  return { pem, parsed };
}

/** @throws Error that begins with the key of the configuration */
function tried<T>(name: string, why: string | undefined, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${name}: ${why === undefined ? said : `${why} (${said})`}`, { cause });
  }
}

/** An operator reads which certificate counts, and that peers refuse one whose time is over. */
function tellOf({ port, peer }: TlsMaterial, log: Logger): void {
  for (const pair of new Set([port, peer])) {
    if (!pair) continue;
    const { subjectAltName: names, validFromDate, validToDate } = new X509Certificate(pair.cert);
    const told = { names, validFrom: validFromDate, validTo: validToDate };
    const isValid = validFromDate.getTime() <= Date.now() && Date.now() < validToDate.getTime();
    if (isValid) log.info(told, "certificate");
    else log.warn(told, "certificate that is not valid now");
  }
}
