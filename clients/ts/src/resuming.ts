import type { DescMethodServerStreaming, DescService, Message, MessageInitShape } from "@bufbuild/protobuf";
import { create, getOption, hasOption } from "@bufbuild/protobuf";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";
import { Code, ConnectError, createClient, createContextValues, makeAnyClient } from "@connectrpc/connect";
import { isRefused } from "./authorize.ts";
import { reasonOf } from "./errors.ts";
import { resume } from "./gen/commerce/common/v1/resume_pb.ts";
import { isPassing } from "./retry.ts";
import { waitAfter } from "./wait.ts";

/** How often a stream is opened again without anything coming; about a quarter of a minute in all. */
const MOST_FAILURES = 8;

/** A call of one method whose messages are of whatever types the method says. */
type Open = (request: Message, options: CallOptions) => AsyncIterable<Message>;
type Call = (input: MessageInitShape<DescMethodServerStreaming["input"]>, options?: CallOptions) => unknown;

/** A client whose server streams go on where they were cut, and end when their reader leaves. */
export function createResumingClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const plain = createClient(service, transport) as Readonly<Record<string, Call>>;
  return makeAnyClient(service, (method) => {
    const call = plain[method.localName];
    if (!call) return null;
    // Of its own for each call and all that is done for it: by them it stays the call of whoever began it.
    const begun = (options?: CallOptions) => ({ ...options, contextValues: createContextValues() });
    if (method.methodKind !== "server_streaming") {
      return ((input, options) => call(input, begun(options))) satisfies Call;
    }
    return ((input, options) => resuming(method, call as Open, input, begun(options))) satisfies Call;
  }) as Client<S>;
}

/**
 * One stream over as many calls as it takes. A method says by `commerce.common.v1.resume` how it is taken up; one that
 * does not is begun anew only where nothing has come.
 */
async function* resuming(
  method: DescMethodServerStreaming,
  open: Open,
  input: MessageInitShape<DescMethodServerStreaming["input"]>,
  { signal: left, ...options }: CallOptions,
): AsyncGenerator<Message> {
  // Connect's own streams stay open when their reader leaves the loop.
  const leave = new AbortController();
  const onLeft = () => leave.abort(left?.reason);
  if (left?.aborted) onLeft();
  left?.addEventListener("abort", onLeft, { once: true });
  const request = create(method.input, input);
  const canResume = hasOption(method, resume);
  let hasBegun = false;
  let failures = 0;
  try {
    for (;;) {
      try {
        for await (const message of open(request, { ...options, signal: leave.signal })) {
          failures = 0;
          hasBegun = true;
          if (canResume) note(method, request, message);
          yield message;
        }
        return;
      } catch (error) {
        failures += 1;
        const isOver = leave.signal.aborted || failures > MOST_FAILURES || (hasBegun && !canResume);
        if (isOver || !isCut(error)) throw error;
        await waitAfter(error, failures, leave.signal);
      }
    }
  } finally {
    left?.removeEventListener("abort", onLeft);
    leave.abort();
  }
}

/** What the shop did not end for good: it has a reason of the moment, or the connection broke and there is none. */
function isCut(error: unknown): boolean {
  if (isPassing(error) || isRefused(error)) return true;
  const { code } = ConnectError.from(error);
  return reasonOf(error) === undefined && (code === Code.Unknown || code === Code.Internal);
}

/** Has the request ask for what comes after this message. */
function note(method: DescMethodServerStreaming, request: Message, message: Message): void {
  const { requestField, responseField } = getOption(method, resume);
  const position = read(reflect(method.output, message), responseField.split("."));
  const field = method.input.fields.find(({ name }) => name === requestField);
  if (field && position !== undefined) reflect(method.input, request).set(field, position);
}

function read(message: ReflectMessage, [name, ...below]: readonly string[]): unknown {
  const field = message.fields.find((one) => one.name === name);
  const value: unknown = field && message.get(field);
  return below.length > 0 && value !== undefined ? read(value as ReflectMessage, below) : value;
}
