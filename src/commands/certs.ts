import { resolve } from "node:path";
import { Command } from "commander";
import { keyPrefix } from "../platform/config-databases.ts";
import { registry } from "../roles/registry.ts";
import { makeCertificates, pairIn } from "./make-certificates.ts";

const [folder = ""] = new Command("npm run certs --")
  .description(
    "Makes certificates to try TLS with: an authority, ca-cert.pem, and <role>-cert.pem and <role>-key.pem of each role. See docs/security.md.",
  )
  .argument("<folder>", "where to write them; what is there stays, so remove a role's two files to renew them")
  .addHelpText("after", "\nIt runs openssl. Example:\n  npm run certs -- .data/tls\n")
  .parse().args;

const roles = Object.keys(registry);
try {
  const made = makeCertificates(folder, roles);
  const kept = roles.length - made.length;
  process.stdout.write(
    `${String(made.length)} certificates made in ${folder}${kept > 0 ? `, ${String(kept)} were there` : ""}\n${usage(folder)}`,
  );
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

/** What to paste into the environment. */
function usage(at: string): string {
  const linesOf = (role: string) => {
    const { cert, key } = pairIn(resolve(at), role);
    return `TLS_CERT_FILE=${cert}\nTLS_KEY_FILE=${key}\nTLS_CA_FILE=${pairIn(resolve(at), "ca").cert}\n`;
  };
  const [door = "", ...behindIt] = roles;
  return `
The whole shop in one process, or the gateway:

${linesOf(door)}
Between roles, in the process of each other role:

${linesOf("<role>")}TLS_CLIENT_CERTS=required

and in every process:

${behindIt.map((role) => `${keyPrefix(role)}_URL=https://${role}:${String(registry[role as keyof typeof registry].port)}`).join("\n")}

A client trusts the shop with curl --cacert ${pairIn(at, "ca").cert}; keep ${pairIn(at, "ca").key} to yourself.
`;
}
