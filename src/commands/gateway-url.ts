import { InvalidArgumentError } from "commander";
import { readEnvironment } from "../platform/environment.ts";

/** Where the shop is that runs on this machine, as far as the environment tells. */
export function gatewayUrl(): string {
  const environment = readEnvironment();
  const port = environment["PORT"] ?? environment["GATEWAY_PORT"] ?? environment["APIGATEWAY_PORT"] ?? "8080";
  return `http://localhost:${port}`;
}

/** @throws InvalidArgumentError */
export function parseUrl(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? "")) throw new InvalidArgumentError("must be http://host:port");
  return text;
}
