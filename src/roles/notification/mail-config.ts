import { validator } from "../../platform/config.ts";

/** An SMTP server, with what it lets us in by. */
export interface SmtpServer {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte on; else STARTTLS where the server offers it. */
  readonly secure: boolean;
  readonly auth: { readonly user: string; readonly pass: string } | undefined;
}

/** `smtp://user:password@host:587`. @throws Error that does not quote it: it has a password */
export function parseMailUrl(input: string): SmtpServer {
  const url = URL.parse(input);
  if (!url || !/^smtps?:$/.test(url.protocol) || url.hostname === "" || /[/?#]./.test(url.pathname + url.search)) {
    throw new Error("must be smtp://user:password@host:587 or smtps://user:password@host:465");
  }
  const secure = url.protocol === "smtps:";
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? (secure ? 465 : 587) : Number(url.port),
    secure,
    auth: url.username === "" ? undefined : { user: decoded(url.username), pass: decoded(url.password) },
  };
}

export const mailUrl = validator<SmtpServer>(parseMailUrl);

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Error("has a user or password with a % that is not written as %25");
  }
}

/** Whom mails come from. */
export interface Sender {
  readonly name: string;
  readonly address: string;
  /** Of the address; Message-IDs end in it. */
  readonly host: string;
}

const ADDRESS = /^[\w.!#$%&'*+/=?^`{|}~-]+@(?<host>[a-z\d](?:[a-z\d.-]*[a-z\d])?)$/i;
const NAMED = /^(?:"(?<quoted>[^"\\]*)"|(?<plain>[^"<>]*?))\s*<(?<address>[^<>]*)>$/;

/** `Shop <shop@example.com>`, or the address alone. */
export function parseSender(input: string): Sender {
  const { quoted, plain, address = input } = NAMED.exec(input)?.groups ?? {};
  const host = ADDRESS.exec(address)?.groups?.["host"];
  const name = (quoted ?? plain ?? "").trim();
  if (host === undefined || /\p{Cc}/u.test(name)) {
    throw new Error(`must be an address such as Shop <shop@example.com>, not "${input}"`);
  }
  return { name, address, host: host.toLowerCase() };
}

export const mailFrom = validator<Sender>(parseSender);

/** A page of one's own that a mail's link leads to; the token is put behind a `#`. */
export const pageUrl = validator<string>((input) => {
  const url = URL.parse(input);
  if (url && (url.username !== "" || url.password !== "")) throw new Error("must be an address without a user");
  if (!url || !/^https?:$/.test(url.protocol) || url.hash !== "") {
    throw new Error(`must be an http:// or https:// address without a #, not "${input}"`);
  }
  return url.href;
});
