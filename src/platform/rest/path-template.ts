/** The path of an HTTP binding, as google.api.http writes it, taken apart. */
export interface PathTemplate {
  /** As written, for example `/api/v1/orders/{id}:cancel`. */
  readonly text: string;
  readonly segments: readonly Segment[];
  /** What stands after the colon of the last segment; empty where nothing does. */
  readonly verb: string;
  /** The fields that the path names, in its order, as they are written: `id`. */
  readonly variables: readonly string[];
}

/** A literal, already decoded, or a field that one segment is the value of. */
export type Segment = { readonly literal: string } | { readonly variable: string };

/** A request's path, split. */
export interface RequestPath {
  /** Decoded one by one: an escaped slash belongs to its segment. */
  readonly segments: readonly string[];
  /** The same without what stands after the last colon; undefined where there is none. */
  readonly withVerb: { readonly segments: readonly string[]; readonly verb: string } | undefined;
}

/**
 * Reads a template of literals and variables of one segment each (`{id}`, `{id=*}`), with an optional verb.
 * @throws TypeError at what is not served here: wildcards over several segments, variables of variables
 */
export function parsePathTemplate(text: string): PathTemplate {
  const [, path = "", verb = ""] = /^((?:\/(?:[\w.~-]+|\{[\w.]+(?:=\*)?\}))+)(?::([\w-]+))?$/.exec(text) ?? [];
  if (path === "") throw new TypeError(`the path ${text} is not one that is served`);
  const segments = path.slice(1).split("/").map(parseSegment);
  const variables = segments.flatMap((segment) => ("variable" in segment ? [segment.variable] : []));
  if (new Set(variables).size < variables.length) throw new TypeError(`the path ${text} names a field twice`);
  return { text, segments, verb, variables };
}

function parseSegment(text: string): Segment {
  const variable = /^\{([\w.]+)(?:=\*)?\}$/.exec(text)?.[1];
  return variable === undefined ? { literal: text } : { variable };
}

/** Splits a request's path, which begins with a slash. Undefined: its escapes cannot be read. */
export function splitPath(path: string): RequestPath | undefined {
  const written = path.slice(1).split("/");
  const last = written.at(-1) ?? "";
  const colon = last.lastIndexOf(":");
  try {
    const segments = written.map(decodeURIComponent);
    if (colon < 1) return { segments, withVerb: undefined };
    const beforeVerb = [...segments.slice(0, -1), decodeURIComponent(last.slice(0, colon))];
    return { segments, withVerb: { segments: beforeVerb, verb: last.slice(colon + 1) } };
  } catch {
    return undefined;
  }
}

/** The values of the template's variables in these segments; undefined where they do not match. */
export function matchSegments(
  { segments: template }: PathTemplate,
  segments: readonly string[],
): ReadonlyMap<string, string> | undefined {
  if (template.length !== segments.length) return undefined;
  const values = new Map<string, string>();
  for (const [index, expected] of template.entries()) {
    const segment = segments[index] ?? "";
    if ("literal" in expected) {
      if (expected.literal !== segment) return undefined;
    } else if (segment === "") return undefined;
    else values.set(expected.variable, segment);
  }
  return values;
}

/** Orders templates of one length: at the first segment where they differ in kind, the literal comes first. */
export function bySpecificity(a: PathTemplate, b: PathTemplate): number {
  for (const [index, segment] of a.segments.entries()) {
    const other = b.segments[index];
    if (other === undefined) return 0;
    const difference = Number("variable" in segment) - Number("variable" in other);
    if (difference !== 0) return difference;
  }
  return 0;
}
