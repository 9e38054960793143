import type { DescField, DescMessage, DescMethod } from "@bufbuild/protobuf";
import { getOption, hasOption } from "@bufbuild/protobuf";
import type { HttpRule } from "#gen/google/api/http_pb.ts";
import { http } from "#gen/google/api/annotations_pb.ts";
import type { PathTemplate } from "./path-template.ts";
import { parsePathTemplate } from "./path-template.ts";

export type HttpVerb = "GET" | "PUT" | "POST" | "DELETE" | "PATCH";

/** One way in which a method is called over plain HTTP: what its `google.api.http` option says. */
export interface HttpBinding {
  readonly method: DescMethod;
  readonly verb: HttpVerb;
  readonly path: PathTemplate;
  /** The fields that the variables of the path are the values of. */
  readonly pathFields: ReadonlyMap<string, FieldPath>;
  /** What the body is: nothing, the request without what the path names, or one field of it. */
  readonly body: "none" | "request" | DescField;
}

/** A field of a request, or of a message in it. */
export type FieldPath = readonly [DescField, ...DescField[]];

/**
 * The bindings of a method, the first of them its own and the others its `additional_bindings`. Empty: it has none.
 * @throws TypeError at a rule that is not served: a path or a body that names no field, `custom`, `response_body`, a
 * stream upwards
 */
export function httpBindingsOf(method: DescMethod): readonly HttpBinding[] {
  if (!hasOption(method, http)) return [];
  const rule = getOption(method, http);
  if (method.methodKind !== "unary" && method.methodKind !== "server_streaming") {
    throw new TypeError(`${method.name} streams upwards, which plain HTTP cannot`);
  }
  return [rule, ...rule.additionalBindings].map((each) => bindingOf(method, each));
}

const verbs: Readonly<Partial<Record<NonNullable<HttpRule["pattern"]["case"]>, HttpVerb>>> = {
  get: "GET",
  put: "PUT",
  post: "POST",
  delete: "DELETE",
  patch: "PATCH",
};

function bindingOf(method: DescMethod, { pattern, body, responseBody }: HttpRule): HttpBinding {
  const verb = pattern.case && verbs[pattern.case];
  if (!verb || typeof pattern.value !== "string") throw new TypeError(`${method.name}: no verb that is served`);
  if (responseBody !== "") throw new TypeError(`${method.name}: response_body is not served`);
  const path = parsePathTemplate(pattern.value);
  const pathFields = new Map(path.variables.map((name) => [name, scalarAt(method.input, name)]));
  return { method, verb, path, pathFields, body: bodyOf(method.input, body) };
}

function bodyOf(input: DescMessage, body: string): HttpBinding["body"] {
  if (body === "") return "none";
  return body === "*" ? "request" : fieldAt(input, body)[0];
}

function scalarAt(input: DescMessage, name: string): FieldPath {
  const path = fieldAt(input, name);
  const last = path.at(-1);
  if (last?.fieldKind !== "scalar") throw new TypeError(`${input.name}.${name} is no single value`);
  return path;
}

function fieldAt(input: DescMessage, name: string): FieldPath {
  const path = findField(input, name);
  if (!path) throw new TypeError(`${input.name} has no field ${name}`);
  return path;
}

/** The field that a dotted path names, in the names of the proto or of its JSON; undefined where there is none. */
export function findField(input: DescMessage, name: string): FieldPath | undefined {
  const found: DescField[] = [];
  let message: DescMessage | undefined = input;
  for (const part of name.split(".")) {
    const field: DescField | undefined = message?.fields.find((each) => each.name === part || each.jsonName === part);
    if (!field) return undefined;
    found.push(field);
    message = field.fieldKind === "message" ? field.message : undefined;
  }
  return found[0] ? [found[0], ...found.slice(1)] : undefined;
}
