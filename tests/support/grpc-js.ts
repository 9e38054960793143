import { join } from "node:path";
import type { CallOptions, Interceptor, ServiceError } from "@grpc/grpc-js";
import { Client, InterceptingCall, Metadata, credentials } from "@grpc/grpc-js";
import type { AnyDefinition, MethodDefinition, ServiceDefinition } from "@grpc/proto-loader";
import { loadSync } from "@grpc/proto-loader";
import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import type { ErrorInfo } from "#gen/google/rpc/error_details_pb.ts";
import { ErrorInfoSchema } from "#gen/google/rpc/error_details_pb.ts";
import type { Status } from "#gen/google/rpc/status_pb.ts";
import { StatusSchema } from "#gen/google/rpc/status_pb.ts";
import { tokenOf } from "./accounts.ts";
import { top } from "./commands.ts";

type Method = MethodDefinition<object, object>;

const proto = join(top, "proto");
const definitions = loadSync(
  [
    "commerce/user/v1/user.proto",
    "commerce/product/v1/product.proto",
    "commerce/order/v1/order.proto",
    "commerce/inventory/v1/inventory.proto",
    "grpc/health/v1/health.proto",
  ],
  { includeDirs: [proto, join(proto, "third_party")], longs: String, enums: String },
);

/** Sends the admin's token with each call. */
function asAdmin(url: string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, listener, proceed) {
        void sendWithToken(url, metadata, () => {
          proceed(metadata, listener);
        });
      },
    });
}

async function sendWithToken(url: string, metadata: Metadata, send: () => void): Promise<void> {
  metadata.set("authorization", `Bearer ${await tokenOf(url)}`);
  send();
}

export interface CallSettings {
  readonly metadata?: Metadata;
  readonly options?: CallOptions;
}

/** The service as a program sees it that knows nothing but the proto files. Messages are plain objects. */
export class GrpcService {
  readonly #client: Client;
  readonly #service: ServiceDefinition;

  /** @param url of the gateway */
  constructor(url: string, name: string) {
    this.#client = new Client(new URL(url).host, credentials.createInsecure(), { interceptors: [asAdmin(url)] });
    this.#service = serviceOf(name);
  }

  unary<T extends object>(name: string, request: object, settings: CallSettings = {}): Promise<T> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const { metadata = new Metadata(), options = {} } = settings;
    return new Promise<T>((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        options,
        (error, response) => {
          if (error) reject(error);
          else resolve(response as T);
        },
      );
    });
  }

  /** An async iterable of messages that can be cancelled. */
  serverStream(name: string, request: object, { metadata = new Metadata(), options = {} }: CallSettings = {}) {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
    );
  }

  /** To write messages to, and an async iterable of those that come back. */
  bidi(name: string, { metadata = new Metadata(), options = {} }: CallSettings = {}) {
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, options);
  }

  close(): void {
    this.#client.close();
  }

  #method(name: string): Method {
    const method = this.#service[name];
    if (!method) throw new Error(`there is no method ${name}`);
    return method;
  }
}

function serviceOf(name: string): ServiceDefinition {
  const definition: AnyDefinition | undefined = definitions[name];
  if (!definition || "format" in definition) throw new Error(`the proto files have no service ${name}`);
  return definition;
}

/** What a call failed with. @throws Error where it did not fail as an RPC does */
export async function errorOf(call: Promise<unknown>): Promise<ServiceError> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Error && "code" in error && "metadata" in error)) {
    throw new Error("the call did not fail as an RPC does", { cause: error });
  }
  return error as ServiceError;
}

/** The status in the trailers with its ErrorInfos; undefined where the error was made on this side. */
export function detailsOf(error: ServiceError): { status: Status; infos: ErrorInfo[] } | undefined {
  const [bytes, ...more] = error.metadata.get("grpc-status-details-bin");
  if (more.length > 0) throw new Error("grpc-status-details-bin comes more than once");
  if (!(bytes instanceof Buffer)) return undefined;
  const status = fromBinary(StatusSchema, bytes);
  return { status, infos: status.details.flatMap((detail) => anyUnpack(detail, ErrorInfoSchema) ?? []) };
}
