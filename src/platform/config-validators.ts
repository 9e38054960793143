import { isIP, isIPv6 } from "node:net";
import type { CleanedEnv, ValidatorSpec } from "envalid";
import { EnvMissingError, customCleanEnv, makeExactValidator } from "envalid";
import type { Environment } from "./environment.ts";

export { makeExactValidator as validator, str } from "envalid";

/** Configuration keys, each with its validator and `desc`. */
export type ConfigSpec = Readonly<Record<string, ValidatorSpec<unknown>>>;

/** The values of a spec's keys. */
export type ConfigOf<C extends ConfigSpec> = CleanedEnv<C>;

/** A whole number within bounds. */
export const wholeNumber = (least: number, most: number) =>
  makeExactValidator<number>((input) => {
    const value = Number(input);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new Error(`must be a whole number from ${String(least)} to ${String(most)}, not "${input}"`);
    }
    return value;
  });

/** A TCP port; 0 takes any free one. */
export const port = wholeNumber(0, 65_535);
export const secret = makeExactValidator<string>((input) => {
  if (input.length < 32) throw new Error("must have at least 32 characters");
  return input;
});

/** A Postgres address, as `postgres://user:password@host:port/database`. */
export const postgresUrl = makeExactValidator<string>((input) => {
  const url = URL.parse(input);
  if (!url || !/^postgres(ql)?:$/.test(url.protocol)) throw new Error("must be a postgres:// address");
  return input;
});

/** The address of a broker: a Postgres database, or RabbitMQ. */
export const busUrl = makeExactValidator<string>((input) => {
  const url = URL.parse(input);
  if (!url || !/^(?:postgres(?:ql)?|amqps?):$/.test(url.protocol)) {
    throw new Error("must be a postgres:// or amqp:// address");
  }
  return input;
});

/** Where clients reach the shop: `https://shop.example.com`, also with a path; answered without a slash at the end. */
export const publicUrl = makeExactValidator<string>((input) => {
  const url = URL.parse(input);
  // Not quoted: it may have a password.
  if (url && (url.username !== "" || url.password !== "")) throw new Error("must be an address without a user");
  if (!url || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "") {
    throw new Error(`must be an http:// or https:// address, not "${input}"`);
  }
  return url.href.replace(/\/+$/, "");
});

/** The address of a server, without a path. */
export const httpUrl = makeExactValidator<URL>((input) => {
  const url = URL.parse(input);
  if (!url || !/^https?:$/.test(url.protocol) || url.pathname !== "/") {
    throw new Error(`must be http://host:port or https://host:port, not "${input}"`);
  }
  return url;
});

/** A host name or address as it stands in a URL: an IPv6 address gets its brackets. */
export const host = makeExactValidator<string>((input) => {
  const named = isIPv6(input) ? `[${input}]` : input;
  if (!URL.canParse(`http://${named}:1`)) throw new Error(`must be a host, not "${input}"`);
  return named;
});

/** What a server listens on: a name or an address, without brackets. */
export const listenAddress = makeExactValidator<string>((input) => {
  if (isIP(input) === 0 && !URL.canParse(`http://${input}:1`)) throw new Error(`must be a host, not "${input}"`);
  return input;
});

/** Addresses and networks, as `10.0.0.0/8,192.168.1.7`. */
export const addressList = makeExactValidator<readonly string[]>((input) => {
  const addresses = input.split(",").map((address) => address.trim());
  for (const address of addresses) {
    const [network = "", bits] = address.split("/");
    const version = isIP(network);
    const isBits = bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
    if (version === 0 || !isBits) throw new Error(`must be addresses or networks, not "${address}"`);
  }
  return addresses;
});

/**
 * Origins as browsers write them in the Origin header, `https://shop.example.com,http://localhost:5173`: compared as they
 * stand, so another way to write one would never match.
 */
export const originList = makeExactValidator<readonly string[]>((input) => {
  const origins = input.split(",").map((origin) => origin.trim());
  for (const origin of origins) {
    const url = URL.parse(origin);
    // Not quoted: it may have a password.
    if (url && (url.username !== "" || url.password !== "")) throw new Error("must be origins without a user");
    if (!url || !/^https?:$/.test(url.protocol) || url.hostname.includes("*")) {
      throw new Error(`must be origins, each in full as https://shop.example.com, not "${origin}"`);
    }
    if (url.origin !== origin) {
      throw new Error(`must be origins as browsers write them, without a path: "${url.origin}", not "${origin}"`);
    }
  }
  return origins;
});

/** Reads keys; what is wrong with them is added to a list, so that all of it can be told at once. */
export type Read = <C extends ConfigSpec>(spec: C) => ConfigOf<C>;

export function reader(environment: Environment, problems: string[]): Read {
  return (spec) => readKeys(environment, spec, problems);
}

function readKeys<C extends ConfigSpec>(environment: Environment, spec: C, problems: string[]): ConfigOf<C> {
  // Without envalid's proxy, which throws at a key that did not pass: all of them are to be listed.
  return customCleanEnv(environment, spec, (values) => values, {
    reporter: ({ errors }) => {
      for (const [key, error] of Object.entries<Error | undefined>(errors)) {
        const hint = spec[key] && "desc" in spec[key] ? String(spec[key].desc) : "";
        const said = error instanceof EnvMissingError ? `is missing${hint && ` (${hint})`}` : (error?.message ?? "");
        problems.push(`${key}: ${said}`);
      }
    },
  }) as ConfigOf<C>;
}
