import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescMethod } from "@bufbuild/protobuf";
import { createFileRegistry, fromBinary, getOption, hasOption } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { AccessLevel, access } from "#gen/commerce/common/v1/access_pb.ts";
import { buildImage } from "./breaking.ts";

/** Every rpc of the proto files that does not say who may call it, one line each. */
export function everyMethodHasAccess(): string {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-access-"));
  try {
    const image = join(folder, "image.binpb");
    const failure = buildImage(image);
    if (failure !== "") return failure;
    const { files } = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(image)));
    const methods = [...files]
      .filter(({ name }) => name.startsWith("commerce/"))
      .flatMap(({ services }) => services.flatMap((service) => service.methods));
    return methods.flatMap(findingsOf).join("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function findingsOf(method: DescMethod): string[] {
  const { level, permission } = hasOption(method, access)
    ? getOption(method, access)
    : { level: AccessLevel.UNSPECIFIED, permission: "" };
  const place = `proto/${method.parent.file.name}.proto: ${method.parent.name}.${method.name}`;
  if (level === AccessLevel.UNSPECIFIED) return [`${place} does not say who may call it`];
  if ((level === AccessLevel.PERMISSION) === (permission !== "")) return [];
  return [`${place}: a permission belongs to ACCESS_LEVEL_PERMISSION, and to it alone`];
}
