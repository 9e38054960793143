import type { DescMethod } from "@bufbuild/protobuf";
import type { HttpBinding } from "../../src/platform/rest/http-binding.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import { createRouteTable } from "../../src/platform/rest/route-table.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import { methodsOfProtos } from "./access.ts";

const PREFIX = "/api/v1/";

/** Every rpc that REST should serve and does not, or should not and does, or cannot; one line each. */
export function everyMethodHasHttp(): string {
  const methods = methodsOfProtos();
  if (typeof methods === "string") return methods;
  const read = methods.map((method) => ({ method, ...bindingsOf(method) }));
  const findings = read.flatMap(({ method, bindings, fault }) => fault ?? findingsOf(method, bindings));
  try {
    createRouteTable(read.flatMap(({ bindings }) => bindings));
  } catch (error) {
    findings.push(wordsOf(error));
  }
  return findings.join("\n");
}

function bindingsOf(method: DescMethod): { readonly bindings: readonly HttpBinding[]; readonly fault?: string } {
  try {
    return { bindings: httpBindingsOf(method) };
  } catch (error) {
    return { bindings: [], fault: wordsOf(error) };
  }
}

function findingsOf(method: DescMethod, bindings: readonly HttpBinding[]): string[] {
  const place = `proto/${method.parent.file.name}.proto: ${method.parent.name}.${method.name}`;
  const isServable = method.methodKind === "unary" || method.methodKind === "server_streaming";
  const isReachable = isServable && accessRule(method).level !== "internal";
  if (isReachable && bindings.length === 0) return [`${place} has no google.api.http option`];
  if (!isReachable && bindings.length > 0)
    return [`${place} has a google.api.http option, and nobody outside may call it`];
  const strays = bindings.filter(({ path }) => !path.text.startsWith(PREFIX));
  return strays.map(({ path }) => `${place}: ${path.text} is not below ${PREFIX}`);
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
