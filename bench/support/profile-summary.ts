import type { CpuProfile } from "./inspector.ts";

/** Where the time of a profile went; milliseconds. */
export interface ProfileSummary {
  /** Without what the process was idle. */
  readonly busyMs: number;
  /** In the code of each package or folder itself; `node` is Node's own JavaScript. */
  readonly packages: ReadonlyMap<string, number>;
  /** The same, with the time of Node's own code given to the package that called it. */
  readonly charged: ReadonlyMap<string, number>;
  readonly functions: ReadonlyMap<string, number>;
}

/** What is no code: V8 calls them so. */
const IDLE = new Set(["(idle)", "(root)"]);

export function summarise({ nodes, samples, timeDeltas }: CpuProfile): ProfileSummary {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const packages = new Map<string, number>();
  const charged = new Map<string, number>();
  const functions = new Map<string, number>();
  let busyMs = 0;

  function chargedTo(id: number): string {
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = byId.get(at)?.callFrame;
      const name = frame && packageOf(frame);
      if (name !== undefined && name !== "node" && !name.startsWith("(")) return name;
    }
    const own = byId.get(id);
    return own ? packageOf(own.callFrame) : "";
  }

  for (const [index, id] of samples.entries()) {
    const frame = byId.get(id)?.callFrame;
    // V8 tells the time since the sample before: that one's.
    const ms = (timeDeltas[index + 1] ?? 0) / 1_000;
    if (!frame || IDLE.has(frame.functionName)) continue;
    busyMs += ms;
    add(packages, packageOf(frame), ms);
    add(charged, chargedTo(id), ms);
    add(functions, `${frame.functionName || "(anonymous)"}  ${placeOf(frame)}`, ms);
  }
  return { busyMs, packages, charged, functions };
}

interface Frame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

/** A package; a folder of ours with its parent; `node`; or what V8 says of what is no JavaScript. */
function packageOf({ functionName, url }: Frame): string {
  if (url.startsWith("node:")) return "node";
  const installed = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
  if (installed !== undefined) return installed;
  const own = /\/(src\/(?:platform(?:\/(?:rest|rules|events|clients|embedded))?|roles\/[^/]+|commands)|gen)\//.exec(
    url,
  )?.[1];
  if (own !== undefined) return own;
  return url === "" && functionName.startsWith("(") ? functionName : "(native)";
}

function placeOf({ url, lineNumber }: Frame): string {
  if (url === "") return "(native)";
  const short = url
    .replace(/^file:\/\//, "")
    .replace(/^.*\/node_modules\//, "")
    .replace(/^.*\/(src|gen)\//, "$1/");
  return `${short}:${String(lineNumber + 1)}`;
}

function add(map: Map<string, number>, key: string, ms: number): void {
  map.set(key, (map.get(key) ?? 0) + ms);
}

/** The largest first. */
export function largest(map: ReadonlyMap<string, number>, count: number): [string, number][] {
  return [...map].sort(([, a], [, b]) => b - a).slice(0, count);
}
