import { readFileSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { readEnvironment } from "../platform/environment.ts";

/** Where the shop is that runs on this machine, as far as the environment tells. */
export function gatewayUrl(): string {
  const environment = readEnvironment();
  const port = environment["PORT"] ?? environment["GATEWAY_PORT"] ?? environment["APIGATEWAY_PORT"] ?? "8080";
  return `${environment["TLS_CERT_FILE"] === undefined ? "http" : "https"}://localhost:${port}`;
}

/** How a client connects: it believes the authority that the environment names. */
export function gatewayTrust(): { readonly ca?: string } {
  const file = readEnvironment()["TLS_CA_FILE"];
  return file === undefined ? {} : { ca: readFileSync(file, "utf8") };
}

/** @throws InvalidArgumentError */
export function parseUrl(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? ""))
    throw new InvalidArgumentError("must be http://host:port or https://host:port");
  return text;
}
