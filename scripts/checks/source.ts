import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

/** An import, export-from or import() of a file. */
export interface Import {
  /** As it is written. */
  readonly specifier: string;
  /** Nothing of it is there at run time. */
  readonly typeOnly: boolean;
}

export interface SourceFile {
  /** From the root, with slashes. */
  readonly path: string;
  /** Without comments, and with every template literal's text blanked. */
  readonly code: string;
  readonly imports: readonly Import[];
  /** What stands in quotes or between backticks, without `${…}`. */
  readonly texts: readonly string[];
}

/** The TypeScript files of these folders (or files) of the project. */
export function readSources(...places: readonly string[]): SourceFile[] {
  const paths = places.flatMap((place) => {
    if (place.endsWith(".ts")) return [place];
    const entries = readdirSync(join(root, place), { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(root.length + 1)
          .replaceAll("\\", "/"),
      );
  });
  return paths.sort().map((path) => ({ path, ...parse(readFileSync(join(root, path), "utf8")) }));
}

const FROM =
  /(?<![\w$.])(?:import|export)\s+(?<type>type\s+(?!from\b))?(?<names>[\w$*{][^;"'()]*?)\s*from\s*["'](?<from>[^"']+)["']/g;
const BARE = /(?<![\w$.])import\s*(?:\(\s*)?["'](?<from>[^"']+)["']/g;

/** Regular expressions are enough here: formatted code, no parser among the dependencies. */
export function parse(text: string): Omit<SourceFile, "path"> {
  const { code, texts } = scan(text);
  const imports = [...code.matchAll(FROM)].map(({ groups }): Import => {
    const names = /^\{(?<list>.*)\}$/s.exec(groups?.["names"] ?? "")?.groups?.["list"];
    const eachIsType = names?.split(",").every((name) => name.trim() === "" || name.trim().startsWith("type "));
    return { specifier: groups?.["from"] ?? "", typeOnly: groups?.["type"] !== undefined || eachIsType === true };
  });
  const bare = [...code.matchAll(BARE)].map(({ groups }) => ({ specifier: groups?.["from"] ?? "", typeOnly: false }));
  return { code, texts, imports: [...imports, ...bare] };
}

const TOKEN =
  /\/\/[^\n]*|\/\*.*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`|[{}]|(?<=(?:^|[(,=:[!&|?{};+\n]|=>|return)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/[\\\n])+\/[a-z]*/gs;

/** Takes comments out and finds texts; `${…}` of a template literal is code again. */
function scan(text: string): { code: string; texts: string[] } {
  const texts: string[] = [];
  let code = "";
  let at = 0;
  /** Braces that are open in each `${…}` we are in. */
  const templates: number[] = [];
  const readTemplate = (from: number) => {
    const end = /\$\{|`/g;
    let stop = from;
    for (;;) {
      end.lastIndex = stop;
      const found = end.exec(text);
      if (!found) throw new SyntaxError("a template literal has no end");
      stop = found.index + found[0].length;
      if (text[found.index - 1] === "\\") continue;
      texts.push(text.slice(from, found.index));
      if (found[0] !== "`") templates.push(0);
      return stop;
    }
  };
  for (;;) {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (!found) break;
    const [token] = found;
    code += text.slice(at, found.index);
    at = found.index + token.length;
    const depth = templates.at(-1);
    if (token === "`") {
      at = readTemplate(at);
      code += "``";
    } else if (token === "}" && depth === 0) {
      templates.pop();
      at = readTemplate(at);
    } else if (token.startsWith("/")) {
      code += token.startsWith("//") || token.startsWith("/*") ? " " : "/regex/";
    } else {
      if (depth !== undefined && token === "{") templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && token === "}") templates[templates.length - 1] = depth - 1;
      if (token.startsWith('"') || token.startsWith("'")) texts.push(token.slice(1, -1));
      code += token;
    }
  }
  return { code: code + text.slice(at), texts };
}
