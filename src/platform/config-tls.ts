import { str } from "./config-validators.ts";
import type { Read } from "./config-validators.ts";

/** A certificate with its chain, and its key: files in PEM. */
export interface PairFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** The keys of the configuration that name them, for messages. */
  readonly named: { readonly cert: string; readonly key: string };
}

export interface TlsConfig {
  /** What the ports show; undefined: they speak cleartext. */
  readonly port: PairFiles | undefined;
  /** What this process shows to other roles; undefined: nothing. */
  readonly peer: PairFiles | undefined;
  /** The authority of other roles' certificates; undefined: those that the system knows. */
  readonly caFile: string | undefined;
  /** Whether the ports of roles serve only who shows a certificate. */
  readonly requiresClientCerts: boolean;
}

const spec = {
  TLS_CERT_FILE: str({
    default: undefined,
    desc: "Certificate of the ports with its chain, in PEM; they then speak TLS. Read again when it changes",
    example: "/run/secrets/tls/tls.crt",
  }),
  TLS_KEY_FILE: str({
    default: undefined,
    desc: "Key of the certificate in TLS_CERT_FILE, in PEM",
    example: "/run/secrets/tls/tls.key",
  }),
  TLS_CA_FILE: str({
    default: undefined,
    desc: "Certificates of the authority that those of other roles come from, in PEM; empty: what the system trusts",
    example: "/run/secrets/tls/ca.crt",
  }),
  TLS_CLIENT_CERTS: str({
    choices: ["none", "required"],
    default: "none",
    desc: "Whether the ports of roles, never the gateway's, serve only who shows a certificate of TLS_CA_FILE that names a role: none, required",
  }),
  TLS_PEER_CERT_FILE: str({
    default: undefined,
    desc: "Certificate that is shown to other roles, in PEM; empty: that of the ports",
    example: "/run/secrets/tls/gateway.crt",
  }),
  TLS_PEER_KEY_FILE: str({
    default: undefined,
    desc: "Key of the certificate in TLS_PEER_CERT_FILE, in PEM",
    example: "/run/secrets/tls/gateway.key",
  }),
};

/** Which files TLS is made of; what does not go together is added to the problems. Pure: no file is read. */
export function readTls(read: Read, problems: string[]): TlsConfig {
  const keys = read(spec);
  const port = pairOf("TLS_CERT_FILE", "TLS_KEY_FILE");
  const peer = pairOf("TLS_PEER_CERT_FILE", "TLS_PEER_KEY_FILE");
  const requiresClientCerts = keys.TLS_CLIENT_CERTS === "required";
  if (requiresClientCerts) {
    if (!port) problems.push("TLS_CERT_FILE: is missing, TLS_CLIENT_CERTS=required needs it");
    // Any certificate that somebody on the internet has would do.
    if (keys.TLS_CA_FILE === undefined) problems.push("TLS_CA_FILE: is missing, TLS_CLIENT_CERTS=required needs it");
  }
  return { port, peer: peer ?? port, caFile: keys.TLS_CA_FILE, requiresClientCerts };

  function pairOf(cert: keyof typeof spec, key: keyof typeof spec): PairFiles | undefined {
    const { [cert]: certFile, [key]: keyFile } = keys;
    if (certFile !== undefined && keyFile !== undefined) return { certFile, keyFile, named: { cert, key } };
    if (certFile !== undefined) problems.push(`${key}: is missing, ${cert} needs it`);
    if (keyFile !== undefined) problems.push(`${cert}: is missing, ${key} needs it`);
    return undefined;
  }
}
