import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { SMTPServer } from "smtp-server";

/** A mail as it came over the wire. */
export interface SinkMail {
  /** Of the envelope. */
  readonly from: string;
  readonly to: readonly string[];
  /** By lower-case name, unfolded and decoded. */
  readonly headers: ReadonlyMap<string, string>;
  readonly html: string;
  readonly text: string;
}

/** What goes wrong with one mail. */
export type SinkFault =
  | { readonly at: "recipient" | "message"; readonly code: number }
  /** The mail is taken, and the connection breaks before the client hears of it. */
  | "drop after data"
  /** Nothing is said any more after the mail. */
  | "hang";

/** A real SMTP server that keeps what it gets. */
export interface SmtpSink extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** In the order in which they came. */
  readonly mails: readonly SinkMail[];
  /** How often somebody logged in. */
  readonly logins: readonly string[];
  /** What goes wrong with the next mails, one each; then all goes well again. */
  fail(...faults: SinkFault[]): void;
}

/** @param auth whom alone it lets in; anybody where it is left out */
export async function startSmtpSink(auth?: { readonly user: string; readonly pass: string }): Promise<SmtpSink> {
  const mails: SinkMail[] = [];
  const logins: string[] = [];
  const faults: SinkFault[] = [];
  const sockets = new Set<Socket>();
  const refusal = (code: number) => Object.assign(new Error("so the test wants it"), { responseCode: code });
  const planned = (at: "recipient" | "message") => {
    const [next] = faults;
    if (typeof next !== "object" || next.at !== at) return undefined;
    faults.shift();
    return refusal(next.code);
  };

  const server = new SMTPServer({
    disabledCommands: auth ? ["STARTTLS"] : ["STARTTLS", "AUTH"],
    authOptional: auth === undefined,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    onAuth({ username, password }, _session, callback) {
      const isRight = username === auth?.user && password === auth?.pass;
      if (isRight) logins.push(username ?? "");
      callback(isRight ? null : refusal(535), isRight ? { user: username } : undefined);
    },
    onRcptTo(_address, _session, callback) {
      callback(planned("recipient") ?? null);
    },
    onData(stream, session, callback) {
      void keep(stream, session, callback);
    },
  });
  // Broken connections are part of the tests.
  server.on("error", () => undefined);
  server.server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.server.address() as AddressInfo;

  async function keep(...[stream, session, done]: Parameters<SMTPServer["onData"]>): Promise<void> {
    const raw = await text(stream);
    const refused = planned("message");
    if (refused) {
      done(refused);
      return;
    }
    const { mailFrom, rcptTo } = session.envelope;
    mails.push(
      parseMail(
        raw,
        mailFrom ? mailFrom.address : "",
        rcptTo.map(({ address }) => address),
      ),
    );
    const fault = faults.shift();
    if (fault === "drop after data") {
      for (const socket of sockets) if (socket.remotePort === session.remotePort) socket.destroy();
    } else if (fault !== "hang") {
      done(null);
    }
  }

  return {
    host: "127.0.0.1",
    port,
    mails,
    logins,
    fail: (...next) => {
      faults.push(...next);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
    },
  };
}

function parseMail(raw: string, from: string, to: readonly string[]): SinkMail {
  const { headers, body } = parsePart(raw);
  const boundary = /boundary="?([^";]+)/.exec(headers.get("content-type") ?? "")?.[1];
  const parts = boundary === undefined ? [{ headers, body }] : body.split(`--${boundary}`).slice(1, -1).map(parsePart);
  const ofType = (type: string) => {
    const part = parts.find((candidate) => candidate.headers.get("content-type")?.startsWith(type));
    return part ? decodeBody(part.body, part.headers.get("content-transfer-encoding") ?? "") : "";
  };
  return { from, to, headers, html: ofType("text/html"), text: ofType("text/plain") };
}

interface Part {
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

function parsePart(raw: string): Part {
  const lines = raw.replace(/^\r\n/, "");
  const end = lines.indexOf("\r\n\r\n");
  const fields = lines
    .slice(0, end)
    .replaceAll(/\r\n[ \t]+/g, " ")
    .split("\r\n");
  const headers = new Map(
    fields.map((field) => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon).toLowerCase(), decodeWords(field.slice(colon + 1).trim())] as const;
    }),
  );
  return { headers, body: lines.slice(end + 4) };
}

/** RFC 2047. Of a character that is divided between two words both are decoded together. */
function decodeWords(value: string): string {
  return value.replaceAll(/\?=\s+=\?/g, "?==?").replaceAll(/(?:=\?utf-8\?[qb]\?[^?]*\?=)+/gi, (words) => {
    const bytes = [...words.matchAll(/=\?utf-8\?([qb])\?([^?]*)\?=/gi)].map(([, kind = "", content = ""]) =>
      kind.toLowerCase() === "b" ? Buffer.from(content, "base64") : quoted(content.replaceAll("_", " ")),
    );
    return Buffer.concat(bytes).toString();
  });
}

function decodeBody(body: string, encoding: string): string {
  if (encoding === "base64") return Buffer.from(body, "base64").toString();
  if (encoding === "quoted-printable") return quoted(body.replaceAll("=\r\n", "")).toString();
  return body;
}

function quoted(content: string): Buffer {
  const bytes = content.replaceAll(/=([\dA-F]{2})/g, (_match, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, "latin1");
}
