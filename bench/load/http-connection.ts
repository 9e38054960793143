import { connect } from "node:net";
import type { Socket } from "node:net";
import { StringDecoder } from "node:string_decoder";

/** What one request was answered. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

interface Pending {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** A keep-alive connection that carries one request at a time. */
export interface Connection {
  /** @param request whole, with its head. Rejects where the connection breaks. */
  send(request: string): Promise<Answer>;
  close(): void;
}

/**
 * HTTP/1.1 on a bare socket: enough for one server that is known, and a fifth of the CPU of `node:http`, which the
 * server under test would lack.
 */
export async function openConnection({ hostname, port }: URL): Promise<Connection> {
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve).once("error", reject);
  });
  return serve(socket);
}

function serve(socket: Socket): Connection {
  let pending: Pending | undefined;
  let received: Buffer = Buffer.alloc(0);
  let broken: Error | undefined;
  const fail = (error: Error) => {
    broken ??= error;
    const waiting = pending;
    pending = undefined;
    waiting?.reject(broken);
  };
  socket.on("error", fail);
  socket.on("close", () => {
    fail(new Error("the connection was closed"));
  });
  socket.on("data", (bytes) => {
    received = received.length === 0 ? bytes : Buffer.concat([received, bytes]);
    const answer = parseAnswer(received);
    if (!answer) return;
    received = Buffer.alloc(0);
    const waiting = pending;
    pending = undefined;
    waiting?.resolve(answer);
  });
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        if (broken) {
          reject(broken);
          return;
        }
        pending = { resolve, reject };
        socket.write(request);
      }),
    close: () => {
      socket.destroy();
    },
  };
}

/** The answer that the bytes hold; undefined where some are missing. Answers are told apart by being one at a time. */
export function parseAnswer(bytes: Buffer): Answer | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = bytes.toString("latin1", 0, end).toLowerCase();
  const status = Number(head.slice(9, 12));
  const from = end + 4;
  const length = /\r\ncontent-length: *(\d+)/.exec(head)?.[1];
  if (length !== undefined) {
    const to = from + Number(length);
    return bytes.length < to ? undefined : { status, body: bytes.toString("utf8", from, to) };
  }
  if (!head.includes("\r\ntransfer-encoding: chunked")) return { status, body: "" };
  const body = parseChunks(bytes, from);
  return body === undefined ? undefined : { status, body };
}

function parseChunks(bytes: Buffer, start: number): string | undefined {
  const text = new StringDecoder("utf8");
  let body = "";
  for (let at = start; ; ) {
    const line = bytes.indexOf("\r\n", at);
    if (line === -1) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
    const next = line + 2 + size + 2;
    if (bytes.length < next) return undefined;
    if (size === 0) return body;
    body += text.write(bytes.subarray(line + 2, next - 2));
    at = next;
  }
}
