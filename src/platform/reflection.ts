import type { DescFile, DescMethod, DescService } from "@bufbuild/protobuf";
import { clone, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter } from "@connectrpc/connect";
import { Code } from "@connectrpc/connect";
import { file_google_rpc_error_details } from "#gen/google/rpc/error_details_pb.ts";
import type { ServerReflectionRequest } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import type { ServerReflectionRequest as AlphaRequest } from "#gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { ServerReflection as AlphaReflection } from "#gen/grpc/reflection/v1alpha/reflection_pb.ts";

/** The two versions of the protocol differ in their package only. */
export const reflectionServices: readonly DescService[] = [ServerReflection, AlphaReflection];

type Hide = (method: DescMethod) => boolean;
type Question = (ServerReflectionRequest | AlphaRequest)["messageRequest"];
type Answer =
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array<ArrayBuffer>[] } }
  | { case: "allExtensionNumbersResponse"; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: "errorResponse"; value: { errorCode: Code; errorMessage: string } };

/**
 * Serves grpc.reflection.v1 and v1alpha: what `buf curl` and grpcurl need to call without a schema. Only files that
 * the services reach are served, in them only these services, and of those no method that `hide` names; and the details
 * of errors, which no file imports: a Status inside a message carries them as Any.
 */
export function reflectionRoutes(router: ConnectRouter, services: readonly DescService[], hide: Hide): void {
  const catalogue = createCatalogue(services, hide);

  async function* answers<R extends { host: string; messageRequest: Question }>(requests: AsyncIterable<R>) {
    const sent = new Set<string>();
    for await (const originalRequest of requests) {
      const messageResponse = answerTo(catalogue, originalRequest.messageRequest, sent);
      yield { validHost: originalRequest.host, originalRequest, messageResponse };
    }
  }

  router.service(ServerReflection, { serverReflectionInfo: (requests) => answers(requests) });
  router.service(AlphaReflection, { serverReflectionInfo: (requests) => answers(requests) });
}

function answerTo(catalogue: Catalogue, question: Question, sent: Set<string>): Answer {
  switch (question.case) {
    case "listServices":
      return { case: "listServicesResponse", value: { service: catalogue.services.map((name) => ({ name })) } };
    case "fileByFilename":
      return fileAnswer(catalogue, catalogue.files.get(question.value), question.value, sent);
    case "fileContainingSymbol":
      return fileAnswer(catalogue, catalogue.symbols.get(question.value), question.value, sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value;
      const file = catalogue.extensions.get(containingType)?.get(extensionNumber);
      return fileAnswer(catalogue, file, `extension ${String(extensionNumber)} of ${containingType}`, sent);
    }
    case "allExtensionNumbersOfType": {
      const numbers = catalogue.extensions.get(question.value);
      if (!numbers && !catalogue.symbols.has(question.value))
        return refusal(Code.NotFound, `${question.value} is unknown`);
      return {
        case: "allExtensionNumbersResponse",
        value: { baseTypeName: question.value, extensionNumber: [...(numbers?.keys() ?? [])] },
      };
    }
    case undefined:
      return refusal(Code.InvalidArgument, "the request asks for nothing that is known here");
  }
}

function refusal(errorCode: Code, errorMessage: string): Answer {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}

/** A file with everything that it imports, less what this stream has got already. */
function fileAnswer(catalogue: Catalogue, file: ServedFile | undefined, asked: string, sent: Set<string>): Answer {
  if (!file) return refusal(Code.NotFound, `${asked} is unknown`);
  const found = new Map<string, ServedFile>([[file.name, file]]);
  for (const { imports } of found.values()) {
    for (const name of imports) {
      const imported = catalogue.files.get(name);
      if (imported && !sent.has(name)) found.set(name, imported);
    }
  }
  for (const name of found.keys()) sent.add(name);
  return {
    case: "fileDescriptorResponse",
    value: { fileDescriptorProto: [...found.values()].map((each) => each.bytes()) },
  };
}

interface ServedFile {
  /** With its suffix, as imports name it. */
  readonly name: string;
  readonly imports: readonly string[];
  /** The serialized google.protobuf.FileDescriptorProto. */
  bytes(): Uint8Array<ArrayBuffer>;
}

interface Catalogue {
  readonly services: readonly string[];
  readonly files: ReadonlyMap<string, ServedFile>;
  /** By full name: messages, their fields, enums, their values, extensions, services, methods. */
  readonly symbols: ReadonlyMap<string, ServedFile>;
  /** By extended type, by number. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, ServedFile>>;
}

function createCatalogue(services: readonly DescService[], hide: Hide): Catalogue {
  const visible = services.filter((service) => service.methods.some((method) => !hide(method)));
  const isServed = (method: DescMethod) => visible.includes(method.parent) && !hide(method);
  const files = new Map<string, ServedFile>();
  const symbols = new Map<string, ServedFile>();
  const extensions = new Map<string, Map<number, ServedFile>>();

  function add(desc: DescFile): void {
    if (files.has(desc.proto.name)) return;
    const file: ServedFile = {
      name: desc.proto.name,
      imports: desc.dependencies.map((dependency) => dependency.proto.name),
      bytes: () => toBinary(FileDescriptorProtoSchema, servedProto(desc, isServed)),
    };
    files.set(file.name, file);
    addSymbols(desc, file);
    for (const dependency of desc.dependencies) add(dependency);
  }

  function addSymbols(desc: DescFile, file: ServedFile): void {
    for (const type of nestedTypes(desc)) {
      if (type.kind === "service") {
        for (const method of type.methods.filter(isServed)) {
          symbols.set(type.typeName, file);
          symbols.set(`${type.typeName}.${method.name}`, file);
        }
        continue;
      }
      symbols.set(type.typeName, file);
      if (type.kind === "message") for (const field of type.fields) symbols.set(`${type.typeName}.${field.name}`, file);
      if (type.kind === "enum") {
        // The values of an enum are its siblings, not its children.
        const scope = type.typeName.slice(0, -type.name.length);
        for (const value of type.values) symbols.set(scope + value.name, file);
      }
      if (type.kind === "extension") {
        const numbers = extensions.get(type.extendee.typeName) ?? new Map<number, ServedFile>();
        extensions.set(type.extendee.typeName, numbers.set(type.number, file));
      }
    }
  }

  for (const service of visible) add(service.file);
  add(file_google_rpc_error_details);
  return { services: visible.map((service) => service.typeName), files, symbols, extensions };
}

/** The file as it was compiled, without the services and methods that are not served. */
function servedProto(desc: DescFile, isServed: (method: DescMethod) => boolean): FileDescriptorProto {
  if (desc.services.every((service) => service.methods.every(isServed))) return desc.proto;
  const proto = clone(FileDescriptorProtoSchema, desc.proto);
  proto.service.forEach((service, index) => {
    const methods = desc.services[index]?.methods ?? [];
    service.method = methods.filter(isServed).map((method) => method.proto);
  });
  proto.service = proto.service.filter((service) => service.method.length > 0);
  return proto;
}
