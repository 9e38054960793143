import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

/** An import, export-from, import() or require() with a plain text; others are found by the rules. */
export interface Import {
  /** As it is written. */
  readonly specifier: string;
  /** Nothing of it is there at run time. `import { type A }` is not one: type stripping leaves `import {}`. */
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

/** On code in which a text in quotes is its number: names may be in quotes too, `export { a as "b" } from "c"`. */
const FROM =
  /(?<![\w$.])(?:import|export)\s*(?<type>type\s+(?!from\b))?(?<names>[\w$*{][^;()]*?)\s*from\s*"(?<from>\d+)"/g;
const BARE = /(?<![\w$.])(?:import|require(?:\.resolve)?)\s*(?:\(\s*)?"(?<from>\d+)"/g;

/** Regular expressions are enough here: formatted code, no parser among the dependencies. */
export function parse(text: string): Omit<SourceFile, "path"> {
  const { code, numbered, quoted, texts } = scan(text);
  const imports = [...numbered.matchAll(FROM), ...numbered.matchAll(BARE)].map(
    ({ groups }): Import => ({
      specifier: quoted[Number(groups?.["from"])] ?? "",
      typeOnly: groups?.["type"] !== undefined,
    }),
  );
  return { code, texts, imports };
}

const TOKEN =
  /\/\/[^\n]*|\/\*.*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`|[{}]|(?<=(?:^|[(,=:[!&|?{};+\n]|=>|return)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/[\\\n])+\/[a-z]*/gs;

interface Scan {
  readonly code: string;
  /** The code with the place in `quoted` for each text in quotes. */
  readonly numbered: string;
  readonly quoted: readonly string[];
  readonly texts: readonly string[];
}

/** Takes comments out and finds texts; `${…}` of a template literal is code again. */
function scan(text: string): Scan {
  const texts: string[] = [];
  const quoted: string[] = [];
  let code = "";
  let numbered = "";
  const add = (piece: string, withNumber = piece) => {
    code += piece;
    numbered += withNumber;
  };
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
    add(text.slice(at, found.index));
    at = found.index + token.length;
    const depth = templates.at(-1);
    if (token === "`") {
      at = readTemplate(at);
      add("``");
    } else if (token === "}" && depth === 0) {
      templates.pop();
      at = readTemplate(at);
    } else if (token.startsWith("/")) {
      add(token.startsWith("//") || token.startsWith("/*") ? " " : "/regex/");
    } else if (token.startsWith('"') || token.startsWith("'")) {
      texts.push(token.slice(1, -1));
      add(token, `"${String(quoted.push(token.slice(1, -1)) - 1)}"`);
    } else {
      if (depth !== undefined && token === "{") templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && token === "}") templates[templates.length - 1] = depth - 1;
      add(token);
    }
  }
  add(text.slice(at));
  return { code, numbered, quoted, texts };
}
