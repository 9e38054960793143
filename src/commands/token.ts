import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { ConnectError, Code } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { Command } from "commander";
import { gatewayTrust, gatewayUrl, parseUrl } from "./gateway-url.ts";
import { SAMPLE_PASSWORD } from "../roles/user/sample-accounts.ts";
import { login, sampleEmail } from "./login.ts";

const program = new Command("npm run --silent token --")
  .description("Logs in at a running shop and prints the access token, and nothing else, on its standard output.")
  .argument("<account>", "admin or shopper of the sample shop, or an email")
  .option("--url <url>", "the gateway", parseUrl, gatewayUrl())
  .addHelpText(
    "after",
    `
The password of an email is asked for, or read from the standard input.

Example:
  TOKEN=$(npm run --silent token -- admin)
  curl -H "authorization: Bearer $TOKEN" …
`,
  )
  .parse();

const [account = ""] = program.args;
const { url } = program.opts<{ url: string }>();
const sample = sampleEmail(account);

try {
  const transport = createConnectTransport({ baseUrl: url, httpVersion: "2", nodeOptions: gatewayTrust() });
  const email = sample ?? account;
  const password = sample === undefined ? await ask(`Password of ${email}: `) : SAMPLE_PASSWORD;
  process.stdout.write(`${await login(transport, email, password)}\n`);
  process.exit(0);
} catch (error) {
  process.stderr.write(`${explain(error)}\n`);
  process.exit(1);
}

/** Asks on the terminal without showing what is typed. */
async function ask(question: string): Promise<string> {
  if (process.stdin.isTTY) process.stderr.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: process.stdin.isTTY ?? false });
  const line = await terminal.question("");
  terminal.close();
  if (process.stdin.isTTY) process.stderr.write("\n");
  return line;
}

function explain(error: unknown): string {
  if (!(error instanceof ConnectError)) return error instanceof Error ? error.message : String(error);
  if (error.code === Code.Unavailable) return `There is no shop at ${url}. Start one with npm start, or say --url.`;
  if (error.code === Code.Unauthenticated && sample !== undefined) {
    return `The shop at ${url} has no sample account ${sample}: they are made with an embedded Postgres only.`;
  }
  return error.rawMessage;
}
