import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { ContextValues, StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import { AppError, PeerError } from "../errors.ts";
import { newId } from "../id.ts";
import type { OpenCall } from "../incoming.ts";
import { openCall } from "../incoming.ts";
import type { Logger } from "../logger.ts";
import type { Pipeline } from "../pipeline.ts";
import { servedCall } from "./serving.ts";

export interface LocalTransportOptions {
  /** The role that calls. */
  readonly caller: string;
  /** Whether it only passes on the calls of outsiders. */
  readonly edge?: boolean;
  /** The role that is called; looked up at each call, since roles of one process start one after the other. */
  readonly pipeline: () => Pipeline;
  readonly log: Logger;
}

/** Calls a role in this process: through the very pipeline that serves its port, without bytes in between. */
export function localTransport({ caller, edge = false, pipeline, log }: LocalTransportOptions): Transport {
  function open(
    method: DescMethod,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: ConstructorParameters<typeof Headers>[0],
    values: ContextValues | undefined,
  ): { opened: OpenCall; responseHeader: Headers } {
    const served = values?.get(servedCall);
    const responseHeader = new Headers();
    const opened = openCall({
      role: pipeline().role,
      method,
      requestId: served?.requestId ?? newId(),
      identity: { subject: served?.subject ?? { kind: "service", role: caller } },
      caller,
      outside: edge && served !== undefined,
      timeoutMs: timeoutMs === undefined ? undefined : Math.max(1, Math.ceil(timeoutMs)),
      parent: signal,
      log,
      requestHeader: new Headers(header),
      responseHeader,
    });
    return { opened, responseHeader };
  }

  function failed(error: unknown): never {
    throw error instanceof AppError ? new PeerError(pipeline().role, error) : error;
  }

  return {
    async unary(method, signal, timeoutMs, header, input, values) {
      const { opened, responseHeader } = open(method, signal, timeoutMs, header, values);
      try {
        const message = await pipeline().one(opened.call, create(method.input, input)).catch(failed);
        return answer(method, responseHeader, message) as UnaryResponse<typeof method.input, typeof method.output>;
      } finally {
        opened.close();
      }
    },

    async stream(method, signal, timeoutMs, header, inputs, values) {
      const { opened, responseHeader } = open(method, signal, timeoutMs, header, values);
      const requests = messages(method.input, inputs);
      async function* responses(): AsyncIterable<MessageShape<DescMessage>> {
        try {
          if (method.methodKind === "client_streaming") {
            yield await pipeline().one(opened.call, requests);
          } else {
            const request = method.methodKind === "server_streaming" ? await first(requests) : requests;
            yield* pipeline().many(opened.call, request);
          }
        } catch (error) {
          failed(error);
        } finally {
          opened.close();
        }
      }
      const response = { ...answer(method, responseHeader, responses()), stream: true };
      return response as StreamResponse<typeof method.input, typeof method.output>;
    },
  };
}

function answer<T>(method: DescMethod, header: Headers, message: T) {
  return { stream: false, service: method.parent, method, header, trailer: new Headers(), message };
}

async function* messages<I extends DescMessage>(
  schema: I,
  inputs: AsyncIterable<MessageInitShape<I>>,
): AsyncIterable<MessageShape<I>> {
  for await (const input of inputs) yield create(schema, input);
}

async function first<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item;
  throw new TypeError("a server-streaming call needs its request");
}
