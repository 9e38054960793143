import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { getOption, hasOption } from "@bufbuild/protobuf";
import { resume } from "#gen/commerce/common/v1/resume_pb.ts";
import type { AppError } from "../errors.ts";
import { jsonOf } from "./answers.ts";
import { findField } from "./http-binding.ts";
import { toProblem } from "./problem.ts";

type AnyMessage = MessageShape<DescMessage>;

/** How the messages of a stream are told apart in a body. */
export type StreamForm = "ndjson" | "sse";

export const STREAM_TYPES: Readonly<Record<StreamForm, string>> = {
  ndjson: "application/x-ndjson",
  sse: "text/event-stream",
};

/** Milliseconds of silence after which an event stream says that it is there: what is between would close it. */
const SILENCE_MS = 15_000;

/** SSE where the client asks for it, else a line of JSON a message. */
export function streamFormOf(accept: string | undefined): StreamForm {
  return /(?:^|,)\s*text\/event-stream\b/i.test(accept ?? "") ? "sse" : "ndjson";
}

/** The field of the request that takes up a stream where it was cut; undefined where the method names none. */
export function resumeField(method: DescMethod): string | undefined {
  return hasOption(method, resume) ? getOption(method, resume).requestField : undefined;
}

/**
 * The body of a stream. A message is `{"result": …}` on a line of its own, or an event; an error is the last of them,
 * `{"error": <problem>}` or the event `error`. An event stream that is through says `end`: its readers would come back.
 * @param toError makes what the stream threw into what is told
 */
export async function* streamBody(
  method: DescMethod,
  form: StreamForm,
  messages: AsyncIterator<AnyMessage>,
  toError: (thrown: unknown) => AppError,
): AsyncIterable<string> {
  const position = positionOf(method);
  let next: Promise<IteratorResult<AnyMessage>> | undefined;
  try {
    for (;;) {
      next ??= messages.next();
      const result = form === "sse" ? await unlessSilent(next) : await next;
      if (result === "silent") {
        yield ":\n\n";
        continue;
      }
      next = undefined;
      if (result.done) break;
      const json = jsonOf(method, result.value);
      yield form === "sse" ? event({ id: position(result.value), data: json }) : `{"result":${json}}\n`;
    }
    if (form === "sse") yield event({ event: "end", data: "{}" });
  } catch (thrown) {
    const problem = JSON.stringify(toProblem(toError(thrown)));
    yield form === "sse" ? event({ event: "error", data: problem }) : `{"error":${problem}}\n`;
  } finally {
    // Not awaited: it settles only once the stream gives up what it waits for.
    void messages.return?.().catch(() => undefined);
  }
}

async function unlessSilent<T>(result: Promise<T>): Promise<T | "silent"> {
  const { promise, resolve } = Promise.withResolvers<"silent">();
  const timer = setTimeout(() => {
    resolve("silent");
  }, SILENCE_MS);
  try {
    return await Promise.race([result, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function event(fields: { readonly id?: string | undefined; readonly event?: string; readonly data: string }): string {
  const lines = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
  return `${lines.map(([name, value]) => `${name}: ${value}`).join("\n")}\n\n`;
}

/** Tells where a stream resumes after a message; undefined where the method does not say. */
function positionOf(method: DescMethod): (message: AnyMessage) => string | undefined {
  if (!hasOption(method, resume)) return () => undefined;
  const path = findField(method.output, getOption(method, resume).responseField);
  if (!path) throw new TypeError(`${method.name} resumes by a field that its response has not`);
  return (message) => {
    let value: unknown = message;
    for (const field of path) value = (value as Readonly<Record<string, unknown>> | undefined)?.[field.localName];
    return typeof value === "string" || typeof value === "bigint" ? String(value) : undefined;
  };
}
