import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Authenticate } from "./authenticate.ts";
import { AppError, errors } from "./errors.ts";
import type { OpenCall } from "./incoming.ts";
import { openCall } from "./incoming.ts";
import type { Logger } from "./logger.ts";
import type { Pipeline } from "./pipeline.ts";
import { REQUEST_ID_HEADER, receivedFrom, receivedId } from "./request-id.ts";
import { fromInboundError, toConnectError } from "./wire.ts";

/**
 * Mounts a role's pipeline on a Connect router: the one place where the framework's context becomes a {@link Call}.
 * Methods that the pipeline does not serve answer unimplemented.
 */
export function connectRoutes(
  router: ConnectRouter,
  pipeline: Pipeline,
  authenticate: Authenticate,
  log: Logger,
): void {
  async function open(context: HandlerContext): Promise<OpenCall> {
    const header = (name: string) => context.requestHeader.get(name) ?? undefined;
    const ownId = context.values.get(receivedId);
    const { identity, caller, outside } = await authenticate(header, context.method).catch((error: unknown) => {
      context.responseHeader.set(REQUEST_ID_HEADER, ownId);
      const refused =
        error instanceof AppError ? error : errors.INTERNAL({ metadata: { request_id: ownId }, cause: error });
      const method = `${context.service.typeName}/${context.method.name}`;
      const line = { role: pipeline.role, requestId: ownId, method, code: refused.kind, reason: refused.reason };
      if (refused.kind === "internal") log.error({ ...line, err: error }, "refused");
      else log.warn(line, "refused");
      throw refused;
    });
    // Only a role's word is taken for the id; at the edge it is made.
    const requestId = (caller === undefined ? undefined : header(REQUEST_ID_HEADER)) ?? ownId;
    context.responseHeader.set(REQUEST_ID_HEADER, requestId);
    return openCall({
      role: pipeline.role,
      method: context.method,
      requestId,
      identity,
      caller,
      outside,
      ...(caller === undefined && { clientAddress: context.values.get(receivedFrom) }),
      timeoutMs: context.timeoutMs(),
      parent: context.signal,
      reasonOf: whyAborted,
      log,
      requestHeader: context.requestHeader,
      responseHeader: context.responseHeader,
    });
  }

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
