import { randomUUID } from "node:crypto";
import type { Connection } from "./http-connection.ts";
import { openConnection } from "./http-connection.ts";
import type { Job } from "./loops.ts";
import { Failure } from "./loops.ts";

export interface UnaryOptions {
  /** With the path. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent in turns; each `{uuid}` in one is a new one in each call. */
  readonly bodies: readonly string[];
  /** Sent in turns, where callers differ. */
  readonly authorizations?: readonly string[];
  /** What an answer must have in it. */
  readonly expect?: string;
}

/** Connect's unary calls in JSON over HTTP/1.1, on as many connections as calls are under way. */
export function unaryJob({ url, headers, bodies, authorizations = [], expect = "" }: UnaryOptions): Job {
  const target = new URL(url);
  const idle: Connection[] = [];
  const heads = (authorizations.length === 0 ? [""] : authorizations).map((authorization) => {
    const all = { host: target.host, "content-type": "application/json", ...headers };
    const lines = Object.entries(authorization === "" ? all : { ...all, authorization });
    return [`POST ${target.pathname} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`)].join("\r\n");
  });
  let turn = 0;
  return {
    async call() {
      turn += 1;
      const body = (bodies[turn % bodies.length] ?? "").replaceAll("{uuid}", () => randomUUID());
      const head = heads[turn % heads.length] ?? "";
      const connection = idle.pop() ?? (await openConnection(target));
      const request = `${head}\r\ncontent-length: ${String(Buffer.byteLength(body))}\r\n\r\n${body}`;
      const answer = await connection.send(request);
      idle.push(connection);
      if (answer.status !== 200) throw new Failure(codeOf(answer.body, answer.status));
      if (!answer.body.includes(expect)) throw new Failure("another answer", answer.body.slice(0, 300));
      return 1;
    },
    close() {
      for (const connection of idle) connection.close();
    },
  };
}

/** `overloaded`, and the like: Connect's code, with what stands before it of HTTP where there is none. */
function codeOf(body: string, status: number): string {
  return /"code":"(\w+)"/.exec(body)?.[1] ?? `HTTP ${String(status)}`;
}
