import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { codeFromString, codeToHttpStatus } from "@connectrpc/connect/protocol-connect";
import type { ErrorKind } from "../../src/platform/errors.ts";
import { AppError, errors } from "../../src/platform/errors.ts";
import { registry } from "../../src/roles/registry.ts";
import { root } from "../checks/source.ts";
import { commentAt, readImage } from "./image.ts";
import type { Page } from "./page.ts";
import { code, table } from "./page.ts";

/** What a caller does about each code; a reason's own text may say it better. */
const ADVICE: Readonly<Partial<Record<ErrorKind, string>>> = {
  invalid_argument: "Correct the request. The same one fails again.",
  unauthenticated: "Get new credentials.",
  permission_denied: "Ask as somebody who may.",
  not_found: "Check the name or id.",
  already_exists: "Use what is there, or another name.",
  aborted: "Read again or wait a little, then repeat.",
  failed_precondition: "Change what the details or the metadata name; the same call fails again until then.",
  out_of_range: "Ask for less.",
  unimplemented: "Call another method, or use another protocol.",
  resource_exhausted: "Send less at once.",
  unavailable: "Repeat after the delay of the RetryInfo, with the same idempotency key.",
  deadline_exceeded: "Repeat with the same idempotency key, or with more time.",
  canceled: "Nothing: the caller itself went away.",
  internal: "Report it with its request id.",
};

interface Reason {
  readonly name: string;
  readonly kind: string;
  readonly text: string;
}

/** An enum of reasons, and what the code throws of it. */
interface Catalogue {
  /** `common`, or a role. */
  readonly owner: string;
  readonly enumName: string;
  readonly documented: readonly Reason[];
}

/** docs/errors.md, of the comments in the proto files. */
export function errorPages(): Page[] {
  const catalogues = readCatalogues();
  const kinds = new Set(catalogues.flatMap(({ documented }) => documented.map(({ kind }) => kind)));
  const codes = (Object.entries(ADVICE) as [ErrorKind, string][])
    .filter(([kind]) => kinds.has(kind))
    .map(([kind, advice]) => [code(kind), grpcCode(kind), httpStatus(kind), advice]);
  const sections = catalogues.map(({ owner, enumName, documented }) => {
    const title = owner === "common" ? "Any method" : `The role ${owner}`;
    const rows = documented.map(({ name, kind, text }) => [code(name), code(kind), text]);
    return `## ${title}\n\n${code(enumName)}\n\n${table(["reason", "code", "when, and what to do"], rows)}`;
  });
  return [
    {
      file: "docs/errors.md",
      text: `# Errors

Written by \`npm run docs\` from the comments of the reasons in \`proto/\`; edit those.

Every error has a code and exactly one \`google.rpc.ErrorInfo\`, whose \`reason\` is one of those below and whose domain
is \`connect-commerce\`. Programs act on the reason, or on the code where they do not know it; the message is for people
and may change. \`google.rpc.BadRequest\` lists every faulty field, \`google.rpc.PreconditionFailure\` every unmet
condition. The \`x-request-id\` of the answer finds its log lines.

## What to do, by code

${table(["code", "gRPC", "HTTP", "what to do"], codes)}

Over REST the answer is a problem (RFC 9457) with the same \`reason\`, \`errors\` for the faulty fields, and
\`preconditions\`. There \`MESSAGE_TOO_LARGE\` is 413 and \`IDEMPOTENCY_KEY_REUSED\` 422; a verb that a path does not serve
is 405, and a body that is no JSON by its type 415, both with \`UNSUPPORTED_METHOD\`.

${sections.join("\n\n")}
`,
    },
  ];
}

/** Where the lists of the code and the enums of the contract do not say the same. */
export async function errorDifferences(): Promise<string[]> {
  const catalogues = readCatalogues();
  const findings: string[] = [];
  for (const owner of ["common", ...Object.keys(registry)]) {
    const catalogue = catalogues.find((candidate) => candidate.owner === owner);
    const place = owner === "common" ? "src/platform/errors.ts" : `src/roles/${owner}/errors.ts`;
    const thrown = owner === "common" ? kindsOf({ errors }) : await kindsIn(place);
    const documented = new Map(catalogue?.documented.map(({ name, kind }) => [name, kind || "no code"]));
    for (const name of new Set([...thrown.keys(), ...documented.keys()])) {
      const [here, there] = [thrown.get(name), documented.get(name)];
      if (here === there) continue;
      findings.push(`${name}: ${here ?? "missing"} in ${place}, ${there ?? "missing"} in the ErrorReason of ${owner}`);
    }
    const silent = catalogue?.documented.filter(({ kind, text }) => !Object.hasOwn(ADVICE, kind) || text === "") ?? [];
    findings.push(
      ...silent.map(({ name }) => `${name} (${owner}): its comment must be "<code>: <when, and what to do>"`),
    );
  }
  return findings;
}

async function kindsIn(place: string): Promise<ReadonlyMap<string, string>> {
  if (!existsSync(join(root, place))) return new Map();
  return kindsOf((await import(pathToFileURL(join(root, place)).href)) as Record<string, unknown>);
}

/** The code of each reason that the exported lists can make. */
function kindsOf(exported: Readonly<Record<string, unknown>>): ReadonlyMap<string, string> {
  const makers = Object.values(exported).flatMap((list) =>
    typeof list === "object" && list !== null ? Object.entries(list as Record<string, unknown>) : [],
  );
  return new Map(
    makers.flatMap(([name, make]): [string, string][] => {
      const made: unknown = typeof make === "function" ? make() : undefined;
      return made instanceof AppError ? [[name, made.kind]] : [];
    }),
  );
}

function readCatalogues(): Catalogue[] {
  const order = ["common", ...Object.keys(registry)];
  return readImage()
    .flatMap(cataloguesOf)
    .sort((a, b) => order.indexOf(a.owner) - order.indexOf(b.owner));
}

function cataloguesOf(file: FileDescriptorProto): Catalogue[] {
  return file.enumType.flatMap((type, enumIndex) => {
    if (!type.name.endsWith("ErrorReason")) return [];
    const prefix = `${type.name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, "_").toUpperCase()}_`;
    const documented = type.value.flatMap(({ name, number }, valueIndex): Reason[] => {
      if (number === 0) return [];
      // descriptor.proto: 5 is FileDescriptorProto.enum_type, 2 is EnumDescriptorProto.value.
      const comment = commentAt(file, 5, enumIndex, 2, valueIndex);
      const [, kind = "", text = ""] = /^(\w+): (.*)$/.exec(comment) ?? [];
      return [{ name: name.slice(prefix.length), kind, text: text.charAt(0).toUpperCase() + text.slice(1) }];
    });
    const owner = file.package.split(".")[1] ?? "";
    return [{ owner, enumName: `${file.package}.${type.name}`, documented }];
  });
}

function grpcCode(kind: string): string {
  const number = codeFromString(kind);
  return number === undefined ? "" : `${String(number)} ${Code[number]}`;
}

function httpStatus(kind: string): string {
  const number = codeFromString(kind);
  return number === undefined ? "" : String(codeToHttpStatus(number));
}
