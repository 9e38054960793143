/**
 * Writes clients/ts/src/gen: the part of the contract that a client over fetch can call, without the rules that only
 * the shop applies. Internal methods are not in it, nor methods that stream upwards, nor messages that only they use.
 *
 *   node scripts/generate-client.ts [folder]   into another folder than the project's
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescEnum, DescFile, DescMethod } from "@bufbuild/protobuf";
import { createFileRegistry, fromBinary, getOption } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { AccessLevel, access } from "#gen/commerce/common/v1/access_pb.ts";
import { buildImage } from "./checks/breaking.ts";
import { command } from "./checks/command.ts";
import { root } from "./checks/source.ts";

/** From the root. */
const GENERATED = "clients/ts/src/gen";

/** What the shop alone applies; the packages of these would come with it. */
const RULES = ["buf.validate", "google.api.http", "commerce.common.v1.access", "commerce.common.v1.rate_limit"];

/** What errors carry, which no method names. */
const DETAILS = ["BadRequest", "ErrorInfo", "PreconditionFailure", "QuotaFailure", "ResourceInfo", "RetryInfo"];

const folder = process.argv[2] ?? root;
const failure = generate();
if (failure !== "") {
  console.error(failure);
  process.exitCode = 1;
}

function generate(): string {
  const files = readContract();
  if (typeof files === "string") return files;
  const services = files.flatMap((file) => file.services);
  const methods = services.flatMap((service) => service.methods).filter(isForClients);
  const enums = files.flatMap((file) => file.enums).filter(({ name }) => name.endsWith("ErrorReason"));
  const template = {
    version: "v2",
    clean: true,
    inputs: [
      {
        directory: root,
        types: [
          ...methods.map(({ parent, name }) => `${parent.typeName}.${name}`),
          ...enums.map(({ typeName }) => typeName),
          ...DETAILS.map((name) => `google.rpc.${name}`),
        ],
        exclude_types: RULES,
      },
    ],
    plugins: [
      {
        local: "protoc-gen-es",
        out: GENERATED,
        opt: ["target=ts", "import_extension=ts", "erasable_syntax=true"],
      },
    ],
  };
  const complaint = command("buf", "generate", "--template", JSON.stringify(template), "--output", folder);
  if (complaint === "") writeFileSync(join(folder, GENERATED, "reasons.ts"), reasonsOf(enums));
  return complaint;
}

/** Our own files as they are now, or what is wrong with them. */
function readContract(): string | readonly DescFile[] {
  const temporary = mkdtempSync(join(tmpdir(), "connect-commerce-client-"));
  try {
    const image = join(temporary, "image.binpb");
    const complaint = buildImage(image);
    if (complaint !== "") return complaint;
    const { files } = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(image)));
    const own = [...files].filter(({ name }) => name.startsWith("commerce/"));
    return own.sort((one, other) => (one.name < other.name ? -1 : 1));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Browsers cannot stream upwards. */
function isForClients(method: DescMethod): boolean {
  const { level } = getOption(method, access);
  const isExposed = level !== AccessLevel.INTERNAL && level !== AccessLevel.UNSPECIFIED;
  return isExposed && (method.methodKind === "unary" || method.methodKind === "server_streaming");
}

function reasonsOf(enums: readonly DescEnum[]): string {
  const imports = enums.map(({ name, file }) => `import { ${name} } from "./${file.name}_pb.ts";`);
  return [
    "// Written by scripts/generate-client.ts",
    ...imports,
    "",
    "/** The reasons of every part of the shop. */",
    `export const reasons = { ${enums.map(({ name }) => `...${name}`).join(", ")} } as const;`,
    "",
  ].join("\n");
}
