import { execFile } from "node:child_process";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import type { ServerReflectionRequestSchema } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.ts";
import { getUserPath, startServer } from "./server.fixture.ts";

const buf = resolve(import.meta.dirname, "../../node_modules/.bin/buf");

/** Outside of the project, so that buf cannot find the schema there. */
async function bufCurl(...args: string[]): Promise<string> {
  const cwd = await mkdtemp(join(tmpdir(), "buf-curl-"));
  const { stdout } = await promisify(execFile)(buf, ["curl", ...args], { cwd });
  return stdout;
}

test.each([
  ["grpc", "grpc-v1"],
  ["grpc", "grpc-v1alpha"],
  ["grpcweb", "grpc-v1"],
  ["connect", "grpc-v1"],
])("buf curl needs no schema over %s with reflection %s", async (protocol, reflect) => {
  const { url } = await startServer();
  const flags = ["--protocol", protocol, "--reflect-protocol", reflect, "--http2-prior-knowledge"];
  expect(JSON.parse(await bufCurl(...flags, "--data", '{"id":"7"}', url + getUserPath))).toMatchObject({
    user: { id: "7" },
  });
  const methods = await bufCurl(...flags, "--list-methods", url);
  expect(methods).toContain("commerce.user.v1.UserService/GetUser");
  expect(methods).toContain("grpc.health.v1.Health/Check");
});

type Question = MessageInitShape<typeof ServerReflectionRequestSchema>;

async function ask(url: string, ...questions: Question[]) {
  async function* requests() {
    yield* questions;
  }
  const answers = [];
  const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: url }));
  for await (const { messageResponse } of client.serverReflectionInfo(requests())) answers.push(messageResponse);
  return answers;
}

const symbol = (value: string): Question => ({ messageRequest: { case: "fileContainingSymbol", value } });
const file = (value: string): Question => ({ messageRequest: { case: "fileByFilename", value } });

test("serves every import once per stream, but always the file that is asked for", async () => {
  const { url } = await startServer();
  const [first, again] = await ask(url, symbol("commerce.user.v1.UserService"), file("commerce/user/v1/user.proto"));
  const namesOf = (answer: typeof first) =>
    answer?.case === "fileDescriptorResponse"
      ? answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name)
      : [];
  expect(namesOf(first).sort()).toEqual([
    "buf/validate/validate.proto",
    "commerce/common/v1/access.proto",
    "commerce/common/v1/address.proto",
    "commerce/common/v1/rate_limit.proto",
    "commerce/user/v1/user.proto",
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/timestamp.proto",
  ]);
  expect(namesOf(again)).toEqual(["commerce/user/v1/user.proto"]);
});

test.each([
  "commerce.user.v1.User",
  "commerce.user.v1.User.email",
  "commerce.user.v1.USER_STATE_ACTIVE",
  "commerce.user.v1.UserService.GetUser",
  "commerce.common.v1.access",
  "google.rpc.Status",
])("finds the file of %s", async (name) => {
  const { url } = await startServer();
  expect(await ask(url, symbol(name))).toMatchObject([{ case: "fileDescriptorResponse" }]);
});

test("finds extensions by number, and lists them", async () => {
  const { url } = await startServer();
  const containingType = "google.protobuf.MethodOptions";
  const [numbers, ...files] = await ask(
    url,
    { messageRequest: { case: "allExtensionNumbersOfType", value: containingType } },
    { messageRequest: { case: "fileContainingExtension", value: { containingType, extensionNumber: 50_000 } } },
  );
  expect(numbers).toMatchObject({ value: { baseTypeName: containingType, extensionNumber: expect.any(Array) } });
  expect(files).toHaveLength(1);
});

test("what is unknown or nothing is answered, and the stream lives", async () => {
  const { url } = await startServer();
  const answers = await ask(
    url,
    symbol("commerce.user.v1.Absent"),
    file("/etc/passwd"),
    { messageRequest: { case: "fileContainingExtension", value: { containingType: "a.B", extensionNumber: -1 } } },
    { messageRequest: { case: "allExtensionNumbersOfType", value: "__proto__" } },
    {},
    symbol("commerce.user.v1.User"),
  );
  expect(answers.map((answer) => answer.case)).toEqual([...Array(5).fill("errorResponse"), "fileDescriptorResponse"]);
  expect(answers.slice(0, 5).map((answer) => answer.case === "errorResponse" && answer.value.errorCode)).toEqual([
    5, 5, 5, 5, 3,
  ]);
});

test("hidden methods are in no answer; a service without methods is gone", async () => {
  const { url } = await startServer({
    hide: (method) => method.name === "DeactivateUser" || method.parent.name === "OrderService",
  });
  const [services, users, hidden, orders] = await ask(
    url,
    { messageRequest: { case: "listServices", value: "" } },
    symbol("commerce.user.v1.UserService"),
    symbol("commerce.user.v1.UserService.DeactivateUser"),
    symbol("commerce.order.v1.OrderService"),
  );
  const names = services?.case === "listServicesResponse" ? services.value.service.map(({ name }) => name) : [];
  expect(names).toContain("commerce.user.v1.UserService");
  expect(names).not.toContain("commerce.order.v1.OrderService");
  const [bytes] = users?.case === "fileDescriptorResponse" ? users.value.fileDescriptorProto : [];
  const [service] = fromBinary(FileDescriptorProtoSchema, bytes ?? new Uint8Array()).service;
  expect(service?.method.map(({ name }) => name)).not.toContain("DeactivateUser");
  expect(service?.method.map(({ name }) => name)).toContain("GetUser");
  expect([hidden?.case, orders?.case]).toEqual(["errorResponse", "errorResponse"]);
  expect(await bufCurl("--protocol", "grpc", "--http2-prior-knowledge", "--list-methods", url)).not.toContain(
    "DeactivateUser",
  );
});
