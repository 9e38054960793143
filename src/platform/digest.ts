import { createHash } from "node:crypto";
import type { DescField, DescMessage, MessageShape } from "@bufbuild/protobuf";
import { clearField, clone, getOption, hasOption, toBinary, toJson } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

/**
 * SHA-256 of what a request says, without the named fields (local names): equal for equal requests, whatever protocol
 * brought them, in whatever order a map's entries came, and in whatever letter case its own UUIDs are written.
 */
export function requestDigest<D extends DescMessage>(
  schema: D,
  request: MessageShape<D>,
  omit: readonly string[],
): Buffer {
  const rest = clone(schema, request);
  for (const name of omit) {
    const field = schema.field[name];
    if (!field) throw new TypeError(`${schema.typeName} has no field ${name}`);
    clearField(rest, field);
  }
  const values = reflect(schema, rest);
  for (const field of schema.fields.filter(isUuid)) {
    const id = values.isSet(field) ? values.get(field) : undefined;
    if (typeof id === "string") values.set(field, id.toLowerCase());
  }
  const bytes = hasMaps(schema) ? JSON.stringify(sorted(toJson(schema, rest))) : toBinary(schema, rest);
  return createHash("sha256").update(schema.typeName).update("\0").update(bytes).digest();
}

const uuids = new WeakMap<DescField, boolean>();

function isUuid(field: DescField): boolean {
  let answer = uuids.get(field);
  if (answer === undefined) {
    const rules = hasOption(field, fieldRules) ? getOption(field, fieldRules).type : undefined;
    answer = field.fieldKind === "scalar" && rules?.case === "string" && rules.value.wellKnown.case === "uuid";
    uuids.set(field, answer);
  }
  return answer;
}

const withMaps = new WeakMap<DescMessage, boolean>();

function hasMaps(schema: DescMessage): boolean {
  let answer = withMaps.get(schema);
  if (answer === undefined) {
    // Recursive messages end here; the answer for the outermost one is still right.
    withMaps.set(schema, false);
    answer = schema.fields.some(
      (field) => field.fieldKind === "map" || (field.message !== undefined && hasMaps(field.message)),
    );
    withMaps.set(schema, answer);
  }
  return answer;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}

/** SHA-256 of a token, by which caches know it: what they hold is then no token. */
export function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("base64url");
}
