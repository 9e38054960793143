import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescMethod } from "@bufbuild/protobuf";
import { createFileRegistry, fromBinary, getOption, hasOption } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { AccessLevel, access } from "#gen/commerce/common/v1/access_pb.ts";
import { accessMatrix } from "../../tests/journeys/access-matrix.ts";
import { buildImage } from "./breaking.ts";

const MATRIX = "tests/journeys/access-matrix.ts";

/** Every rpc of the proto files that does not say who may call it, or of which the table does not; one line each. */
export function everyMethodHasAccess(): string {
  const methods = methodsOfProtos();
  if (typeof methods === "string") return methods;
  return [...methods.flatMap(findingsOf), ...differencesOf(methods)].join("\n");
}

/** Every method of our own proto files, as they are now; what buf says where they cannot be built. */
export function methodsOfProtos(): DescMethod[] | string {
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-methods-"));
  try {
    const image = join(folder, "image.binpb");
    const failure = buildImage(image);
    if (failure !== "") return failure;
    const { files } = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(image)));
    return [...files]
      .filter(({ name }) => name.startsWith("commerce/"))
      .flatMap(({ services }) => services.flatMap((service) => service.methods));
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

/** The rpcs that the table lacks, has too many or twice. */
function differencesOf(methods: readonly DescMethod[]): string[] {
  const rpcs = methods.map(({ name, parent }) => `${parent.typeName}/${name}`);
  const rows = accessMatrix.map(({ rpc }) => rpc);
  return [
    ...rpcs.filter((rpc) => !rows.includes(rpc)).map((rpc) => `${MATRIX} has no row for ${rpc}`),
    ...rows.filter((row) => !rpcs.includes(row)).map((row) => `${MATRIX} has a row for ${row}, which there is not`),
    ...rows.filter((row, at) => rows.indexOf(row) < at).map((row) => `${MATRIX} has two rows for ${row}`),
  ];
}
