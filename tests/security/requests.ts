import type { DescField, DescMessage, DescMethod, JsonObject, JsonValue } from "@bufbuild/protobuf";
import { ScalarType, create, toJson } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { accessRule } from "../../src/platform/rules/access.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import { nothing, methods as allMethods, requests } from "../journeys/access-calls.ts";

/** Every method that may be called from outside. */
export const methods: readonly DescMethod[] = [...allMethods.values()].filter(
  (method) => accessRule(method).level !== "internal",
);

export const writes: readonly DescMethod[] = methods.filter(({ idempotency }) => idempotency !== Level.NO_SIDE_EFFECTS);

export function hasRest(method: DescMethod): boolean {
  return httpBindingsOf(method).length > 0;
}

/** A request that the method takes, or refuses for what it is about and not for how it is written. */
export function requestOf(method: DescMethod): JsonObject {
  const request = requests[method.name]?.(nothing(), { actor: "admin", refreshToken: "no-such-token" }) ?? {};
  return toJson(method.input, create(method.input, request)) as JsonObject;
}

/** A place in a request where a message is. */
export interface Place {
  readonly path: readonly (string | number)[];
  readonly schema: DescMessage;
}

/** The request itself, and every message that is in it. */
export function messagesIn(schema: DescMessage, value: JsonValue, path: readonly (string | number)[] = []): Place[] {
  const inner = schema.fields.flatMap((field) => {
    const found = (value as JsonObject)[field.jsonName];
    if (found === undefined || !field.message || field.message.typeName.startsWith("google.")) return [];
    if (field.fieldKind === "message") return messagesIn(field.message, found, [...path, field.jsonName]);
    if (field.fieldKind !== "list") return [];
    return messagesIn(field.message, (found as JsonValue[])[0] ?? {}, [...path, field.jsonName, 0]);
  });
  return [{ path, schema }, ...inner];
}

/** The request with another value at a place; messages that are not there yet are made. */
export function withValue(request: JsonObject, path: readonly (string | number)[], value: JsonValue): JsonObject {
  const changed = structuredClone(request);
  let target: Record<string | number, JsonValue> = changed;
  for (const [at, step] of path.entries()) {
    if (at === path.length - 1) target[step] = value;
    else target = (target[step] ??= typeof path[at + 1] === "number" ? [] : {}) as typeof target;
  }
  return changed;
}

/** The ways to every text of a request, also in messages of messages, and of lists to the first. */
export function textsOf(schema: DescMessage, depth = 0): (readonly (string | number)[])[] {
  if (depth > 3) return [];
  return schema.fields.flatMap((field) => {
    const isText = "scalar" in field && field.scalar === ScalarType.STRING;
    const inner = field.message?.typeName.startsWith("google.") ? undefined : field.message;
    const deeper = inner ? textsOf(inner, depth + 1) : [];
    switch (field.fieldKind) {
      case "scalar":
        return isText ? [[field.jsonName]] : [];
      case "message":
        return deeper.map((path) => [field.jsonName, ...path]);
      case "list":
        return isText ? [[field.jsonName, 0]] : deeper.map((path) => [field.jsonName, 0, ...path]);
      case "map":
        return isText ? [[field.jsonName, "key"]] : [];
      default:
        return [];
    }
  });
}

/** All fields of what a service answers, by name. */
export function answeredFields({ parent }: DescMethod): ReadonlyMap<string, DescField> {
  const found = new Map<string, DescField>();
  const seen = new Set<DescMessage>();
  const walk = (schema: DescMessage) => {
    if (seen.has(schema) || schema.typeName.startsWith("google.")) return;
    seen.add(schema);
    for (const field of schema.fields) {
      found.set(field.name, field);
      if (field.message) walk(field.message);
    }
  };
  for (const { output } of parent.methods.filter((method) => accessRule(method).level !== "internal")) walk(output);
  return found;
}
