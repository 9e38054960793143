import type { DescField, DescMessage, JsonObject, JsonValue, MessageShape } from "@bufbuild/protobuf";
import { ScalarType, fromJson } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { FieldViolation } from "../errors.ts";
import { errors } from "../errors.ts";
import { fromInboundError, wireRegistry } from "../wire.ts";
import type { FieldPath, HttpBinding } from "./http-binding.ts";
import { findField } from "./http-binding.ts";

/** The parts of an HTTP request that say what is asked. */
export interface RequestParts {
  /** The values of the path's variables, decoded. */
  readonly variables: ReadonlyMap<string, string>;
  readonly query: URLSearchParams;
  /** Undefined: there is none. */
  readonly body: JsonValue | undefined;
  /** Values that headers give to fields, by the field's name. */
  readonly headers: ReadonlyMap<string, string>;
}

/**
 * Puts a request together: what the path names, the body, and, of what neither covers, the query. Nothing is dropped
 * silently: what names no field, or gives one field two values, is refused.
 * @throws AppError MALFORMED_MESSAGE
 */
export function readRequest(binding: HttpBinding, parts: RequestParts): MessageShape<DescMessage> {
  const faults: FieldViolation[] = [];
  const request = bodyObject(binding, parts.body);
  const put = (name: string, path: FieldPath, value: JsonValue) => {
    const fault = putValue(request, path, value);
    if (fault !== undefined) faults.push({ field: name, description: fault });
  };
  for (const [name, path] of binding.pathFields) {
    const value = parts.variables.get(name) ?? "";
    put(name, path, textValue(path, value) ?? value);
  }
  for (const [name, value] of parts.headers) {
    const path = findField(binding.method.input, name);
    if (path) put(name, path, value);
  }
  readQuery(binding, parts.query, put, faults);
  if (faults.length > 0) throw errors.MALFORMED_MESSAGE({ message: messageOf(faults), fields: faults });
  try {
    return fromJson(binding.method.input, request, { ignoreUnknownFields: false, registry: wireRegistry });
  } catch (error) {
    const message = error instanceof Error ? error.message : "";
    throw fromInboundError(new ConnectError(message, Code.InvalidArgument, undefined, undefined, error));
  }
}

function messageOf(faults: readonly FieldViolation[]): string {
  const [first] = faults;
  return faults.length === 1 && first ? `${first.field}: ${first.description}.` : "The request has faulty fields.";
}

function bodyObject({ body: takes }: HttpBinding, body: JsonValue | undefined): JsonObject {
  if (body === undefined) return {};
  if (takes === "none") throw errors.MALFORMED_MESSAGE({ message: "This takes no body." });
  if (takes !== "request") return { [takes.jsonName]: body };
  if (!isObject(body)) throw errors.MALFORMED_MESSAGE({ message: "The body is no JSON object." });
  return { ...body };
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

type Put = (name: string, path: FieldPath, value: JsonValue) => void;

function readQuery(binding: HttpBinding, query: URLSearchParams, put: Put, faults: FieldViolation[]): void {
  const { method, body } = binding;
  for (const name of new Set(query.keys())) {
    const texts = query.getAll(name);
    const path = body === "request" ? undefined : findField(method.input, name);
    const field = path?.at(-1);
    if (!path || !field || path[0] === body) {
      faults.push({ field: name, description: "is no parameter of this method" });
      continue;
    }
    const values = texts.map((text) => textValue(path, text));
    const [first] = values;
    if (values.includes(undefined)) faults.push({ field: name, description: whyNot(field) });
    else if (field.fieldKind === "list") put(name, path, values as JsonValue[]);
    else if (texts.length > 1) faults.push({ field: name, description: "is given more than once" });
    else if (first !== undefined) put(name, path, first);
  }
}

function whyNot(field: DescField): string {
  const isFlag = field.fieldKind === "scalar" && field.scalar === ScalarType.BOOL;
  return isFlag ? "must be true or false" : "cannot be given in an address";
}

/** Messages that JSON writes as one text. */
const TEXTS = ["google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"];

/** What a text in an address is in JSON; undefined where the field cannot be given there, or not so. */
function textValue(path: FieldPath, text: string): JsonValue | undefined {
  if (path.slice(0, -1).some((field) => field.fieldKind !== "message")) return undefined;
  const field = path.at(-1);
  const kind = field?.fieldKind === "list" ? field.listKind : field?.fieldKind;
  switch (kind) {
    case "scalar":
      return field?.scalar === ScalarType.BOOL ? flagOf(text) : text;
    case "enum":
      return /^-?\d{1,10}$/.test(text) ? Number(text) : text;
    case "message":
      return TEXTS.includes(field?.message?.typeName ?? "") ? text : undefined;
    default:
      return undefined;
  }
}

function flagOf(text: string): boolean | undefined {
  return text === "true" || (text === "false" ? false : undefined);
}

/** Puts a value at a path of fields. Answers what is wrong where another value is there. */
function putValue(request: JsonObject, path: FieldPath, value: JsonValue): string | undefined {
  let object = request;
  for (const [index, field] of path.entries()) {
    const key = keyOf(object, field);
    const present = object[key];
    if (index === path.length - 1) {
      if (!isAbsent(present) && !isSame(present, value)) return "is given twice, with different values";
      object[key] = value;
      return undefined;
    }
    const inner: JsonObject = isObject(present) ? present : {};
    object[key] = inner;
    object = inner;
  }
  return undefined;
}

/** Serializers that write every field write these for what is not there. */
function isAbsent(value: JsonValue | undefined): value is undefined | null | "" {
  return value === undefined || value === null || value === "";
}

/** Of single values: what the body has may be anything, of any depth. */
function isSame(present: JsonValue, value: JsonValue): boolean {
  return typeof present !== "object" && typeof value !== "object" && String(present) === String(value);
}

/** Under which of its two names a field is there. */
function keyOf(object: JsonObject, { name, jsonName }: DescField): string {
  return Object.hasOwn(object, name) ? name : jsonName;
}
