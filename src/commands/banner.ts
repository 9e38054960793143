import { ConfigError } from "../platform/config.ts";
import type { Config } from "../platform/config.ts";
import type { System } from "../platform/boot.ts";
import { SAMPLE_ACCOUNTS, SAMPLE_PASSWORD } from "../roles/user/sample-accounts.ts";
import { codeOf, isConnectionLost } from "../platform/database-errors.ts";

/** What a person sees when the whole shop runs: where, what it keeps, and calls to paste. */
export function banner(system: System, config: Config): string {
  const port = system.ports["gateway"] ?? 0;
  const url = `${config.tls.port ? "https" : "http"}://localhost:${String(port)}`;
  const trust = config.tls.port && config.tls.caFile !== undefined ? ` --cacert ${config.tls.caFile}` : "";
  // Where a PORT was given for this start alone, the program would look for the shop elsewhere.
  const elsewhere = port === 8080 ? "" : ` --url ${url}`;
  const data = system.embedded ? `embedded Postgres, data in ${system.embedded.dataPath}` : "your Postgres";
  const roles = config.roles.filter((role) => role !== "gateway").join(", ");
  const accounts = system.tryout
    ? `Accounts: ${SAMPLE_ACCOUNTS.map(({ email }) => email).join(" and ")}, password ${SAMPLE_PASSWORD}; npm run token -- admin`
    : "Make yourself admin: npm run grant -- you@example.com admin";
  return `
  connect-commerce runs at ${url}
  gRPC, gRPC-Web, Connect and REST on this one port; roles: ${roles}
  ${data}
${system.embedded?.notice ? `  ${system.embedded.notice}\n` : ""}
  ${accounts}
${system.tryout ? `  Mails: ${url}/-/notification/mailbox\n` : ""}
  Read and try the API at ${url}/docs, or paste:

  curl${trust} '${url}/api/v1/products?text=mug'

${system.tryout ? checkout(url, trust, elsewhere) : logIn(url, trust)}
  npx buf curl --protocol grpc${config.tls.port ? trust : " --http2-prior-knowledge"} ${url}/commerce.product.v1.ProductService/ListProducts

  Health ${url}/readyz     More goods: npm run seed -- --products 10000${elsewhere}     Stop: Ctrl-C

`;
}

/** From a login to an order that is paid for. */
function checkout(url: string, trust: string, elsewhere: string): string {
  return `  shopper="authorization: Bearer $(npm run --silent token -- shopper${elsewhere})"
  curl${trust} ${url}/commerce.order.v1.OrderService/CreateOrder \\
    -H "$shopper" -H 'content-type: application/json' \\
    -d '{"items":[{"sku":"MUG-SAND","quantity":1}],"waitFor":"WAIT_FOR_SETTLED"}'
`;
}

function logIn(url: string, trust: string): string {
  return `  curl${trust} ${url}/commerce.user.v1.AuthService/Login \\
    -H 'content-type: application/json' -d '{"email":"you@example.com","password":"…"}'
`;
}

/** Why the start failed and what to do, for a person. */
export function explain(error: unknown): string {
  if (error instanceof ConfigError) return `${error.message}\n\nSee .env.example, or npm start -- --help.`;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message || code : String(error);
  switch (code) {
    case "EADDRINUSE": {
      const port = error instanceof Error && "port" in error ? String(error.port) : "?";
      return `Port ${port} is taken by another program. Choose another one: PORT=8090 npm start`;
    }
    case "EACCES":
      return `${message}\nThis account may not do that: choose another PORT (above 1023) or DATA_DIR.`;
    case "28P01":
    case "28000":
      return unreachable(message);
    default:
      // pg gives a missing password no code.
      if (isConnectionLost(error) || message.startsWith("SASL")) return unreachable(message);
      return error instanceof Error && error.name === "AlreadyRunning" ? `${message}` : `It cannot start: ${message}`;
  }
}

function unreachable(message: string): string {
  return `The database cannot be reached: ${message}\nIs Postgres running there, and are DATABASE_URL or POSTGRES_* right? Without them npm start brings its own.`;
}
