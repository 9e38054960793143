import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { buildImage } from "../checks/breaking.ts";

/** Our own proto files with their comments. @throws Error with what buf says where they cannot be built */
export function readImage(): FileDescriptorProto[] {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-docs-"));
  try {
    const image = join(folder, "image.binpb");
    const failure = buildImage(image);
    if (failure !== "") throw new Error(failure);
    const { file: files } = fromBinary(FileDescriptorSetSchema, readFileSync(image));
    return files.filter(({ name }) => name.startsWith("commerce/"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The comment above a part of a file, in one line; see SourceCodeInfo of descriptor.proto for the path. */
export function commentAt(file: FileDescriptorProto, ...path: readonly number[]): string {
  const location = file.sourceCodeInfo?.location.find((candidate) => candidate.path.join() === path.join());
  return (location?.leadingComments ?? "").trim().replace(/\s+/g, " ");
}
