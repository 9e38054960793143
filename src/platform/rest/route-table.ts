import type { HttpBinding } from "./http-binding.ts";
import type { PathTemplate } from "./path-template.ts";
import { bySpecificity, matchSegments, splitPath } from "./path-template.ts";

/** What a request's verb and path lead to. */
export type Match =
  | { readonly kind: "found"; readonly binding: HttpBinding; readonly variables: ReadonlyMap<string, string> }
  /** The path is served, with other verbs. */
  | { readonly kind: "other-verbs"; readonly verbs: readonly string[] }
  | { readonly kind: "nothing" }
  /** The path's escapes cannot be read. */
  | { readonly kind: "unreadable" };

export type RouteTable = (verb: string, path: string) => Match;

/**
 * Finds bindings by verb and path. A literal segment beats a variable, and a verb after a colon beats a variable whose
 * value contains one.
 * @throws TypeError where two bindings can match the same requests
 */
export function createRouteTable(bindings: readonly HttpBinding[]): RouteTable {
  const byShape = new Map<string, HttpBinding[]>();
  for (const binding of bindings) {
    const shape = shapeOf(binding.path.segments.length, binding.path.verb);
    byShape.set(shape, [...(byShape.get(shape) ?? []), binding]);
  }
  for (const alike of byShape.values()) {
    alike.sort((a, b) => bySpecificity(a.path, b.path));
    refuseTwins(alike);
  }

  /** The most specific path, with all that is served at it. */
  function at(segments: readonly string[], verb: string): readonly HttpBinding[] {
    const alike = byShape.get(shapeOf(segments.length, verb)) ?? [];
    const first = alike.find(({ path }) => matchSegments(path, segments));
    return first ? alike.filter(({ path }) => sameRequests(path, first.path)) : [];
  }

  return (verb, path) => {
    const split = splitPath(path);
    if (!split) return { kind: "unreadable" };
    const { withVerb } = split;
    const named = withVerb ? at(withVerb.segments, withVerb.verb) : [];
    const served = named.length > 0 ? named : at(split.segments, "");
    const segments = withVerb && named.length > 0 ? withVerb.segments : split.segments;
    if (served.length === 0) return { kind: "nothing" };
    const binding = served.find((each) => each.verb === verb);
    if (!binding) return { kind: "other-verbs", verbs: served.flatMap(verbsOf) };
    return { kind: "found", binding, variables: matchSegments(binding.path, segments) ?? new Map() };
  };
}

/** What is read at once is served to HEAD, too. */
function verbsOf({ verb, method }: HttpBinding): readonly string[] {
  return verb === "GET" && method.methodKind === "unary" ? [verb, "HEAD"] : [verb];
}

function shapeOf(segments: number, verb: string): string {
  return `${String(segments)}:${verb}`;
}

/** Whether two paths of one shape match exactly the same requests, whatever their variables are called. */
function sameRequests(a: PathTemplate, b: PathTemplate): boolean {
  return a.segments.every((segment, index) => {
    const other = b.segments[index];
    if (other === undefined) return false;
    return "literal" in segment ? "literal" in other && segment.literal === other.literal : "variable" in other;
  });
}

function refuseTwins(alike: readonly HttpBinding[]): void {
  for (const [index, binding] of alike.entries()) {
    const twin = alike.slice(0, index).find((other) => {
      return other.verb === binding.verb && sameRequests(other.path, binding.path);
    });
    if (twin) throw new TypeError(`${twin.method.name} and ${binding.method.name} both serve ${binding.path.text}`);
  }
}
