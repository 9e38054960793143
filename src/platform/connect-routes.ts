import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Admit } from "./arrivals.ts";
import type { UnaryCalls } from "./connect-unary.ts";
import { AppError, errors } from "./errors.ts";
import type { OpenCall } from "./incoming.ts";
import type { Pipeline } from "./pipeline.ts";
import { receivedFrom, receivedId } from "./request-id.ts";
import { fromInboundError, toConnectError } from "./wire.ts";

/**
 * Mounts a role's pipeline on a Connect router: the one place where the framework's context becomes a {@link Call}.
 * Methods that the pipeline does not serve answer unimplemented.
 */
export function connectRoutes(router: ConnectRouter, pipeline: Pipeline, admit: Admit): void {
  const open = (context: HandlerContext): Promise<OpenCall> =>
    admit({
      method: context.method,
      ownId: context.values.get(receivedId),
      from: context.values.get(receivedFrom),
      timeoutMs: context.timeoutMs(),
      signal: context.signal,
      reasonOf: whyAborted,
      requestHeader: context.requestHeader,
      responseHeader: context.responseHeader,
    });

  async function one(input: unknown, context: HandlerContext): Promise<never> {
    const opened = await open(context).catch(rethrow);
    try {
      return (await pipeline.one(opened.call, readable(input))) as never;
    } catch (error) {
      return rethrow(error);
    } finally {
      opened.close();
    }
  }

  async function* many(input: unknown, context: HandlerContext): AsyncIterable<never> {
    const opened = await open(context).catch(rethrow);
    try {
      yield* pipeline.many(opened.call, readable(input)) as AsyncIterable<never>;
    } catch (error) {
      rethrow(error);
    } finally {
      opened.close();
    }
  }

  for (const served of pipeline.services) {
    for (const method of served.service.methods) {
      if (!served.handler(method)) continue;
      router.rpc(
        method,
        (method.methodKind === "unary" || method.methodKind === "client_streaming" ? one : many) as never,
      );
    }
  }
}

/** The unary methods of the pipeline, for whoever has a message and a request around it. */
export function unaryCalls(pipeline: Pipeline, admit: Admit): UnaryCalls {
  return {
    serves: (method) =>
      pipeline.services.some((served) => served.service === method.parent && served.handler(method) !== undefined),
    async carryOut(arrival, input) {
      const opened = await admit(arrival);
      try {
        return await pipeline.one(opened.call, input);
      } finally {
        opened.close();
      }
    },
  };
}

/** The server aborts with the error to answer when it stops, the framework when the client's deadline has passed. */
function whyAborted(reason: unknown): AppError {
  if (reason instanceof AppError) return reason;
  return reason instanceof ConnectError && reason.code === Code.DeadlineExceeded
    ? errors.DEADLINE()
    : errors.CANCELED();
}

function rethrow(error: unknown): never {
  throw error instanceof AppError ? toConnectError(error) : error;
}

function isIterable(input: unknown): input is AsyncIterable<unknown> {
  return typeof input === "object" && input !== null && Symbol.asyncIterator in input;
}

/** Requests of a stream, whose unreadable message fails with ours instead of the framework's error. */
function readable(input: unknown): unknown {
  return isIterable(input) ? readableEach(input) : input;
}

async function* readableEach(inputs: AsyncIterable<unknown>): AsyncIterable<unknown> {
  try {
    yield* inputs;
  } catch (error) {
    throw error instanceof ConnectError ? fromInboundError(error) : error;
  }
}
