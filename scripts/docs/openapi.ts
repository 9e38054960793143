import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { DescField, DescMethod, DescService } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import type { Registry } from "../../src/platform/role.ts";
import type { FieldPath, HttpBinding } from "../../src/platform/rest/http-binding.ts";
import { httpBindingsOf } from "../../src/platform/rest/http-binding.ts";
import { resumeField } from "../../src/platform/rest/stream-answer.ts";
import { accessRule } from "../../src/platform/rules/access.ts";
import { rateLimit } from "../../src/platform/rules/rate-limit.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { root } from "../checks/source.ts";
import { readImage } from "./image.ts";
import type { Comments } from "./openapi/comments.ts";
import { commentsOf } from "./openapi/comments.ts";
import { isRequired } from "./openapi/constraints.ts";
import type { Schema } from "./openapi/schema.ts";
import { Schemas } from "./openapi/schema.ts";
import type { Page } from "./page.ts";

const FILE = "docs/openapi.json";
const registry: Registry = allRoles;

const INTRODUCTION = `The shop over plain HTTP. Each path is one method of the gRPC API, with the same rules, the same errors
and the same names, in lowerCamelCase; the methods are also served over gRPC, gRPC-Web and Connect at the same address.

- **Who calls**: log in at \`/api/v1/auth/login\` and send \`Authorization: Bearer <access token>\`, or an API key.
- **Errors** are problem details (RFC 9457) with a \`reason\` from a closed list.
- **Numbers of 64 bits**, amounts among them, are strings. Amounts are in the minor unit of their currency.
- **Retries**: where \`Idempotency-Key\` is a parameter, the same key answers the same again.
- **Reads** carry an \`ETag\`; send it back as \`If-None-Match\`.
- **Streams** are lines of JSON, \`{"result": …}\` each and \`{"error": …}\` last where one fails; with
  \`Accept: text/event-stream\` they are events, which resume by \`Last-Event-ID\`.`;

/** The API over plain HTTP as an OpenAPI document, of the descriptors and of what their comments say. */
export function openApiPages(): Page[] {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { readonly version: string };
  return [{ file: FILE, text: `${JSON.stringify(openApi(version), null, 2)}\n` }];
}

function openApi(version: string): Schema {
  // The gateway's own are for operators.
  const roles = Object.values(registry).toSorted((a, b) => Number(a.edge ?? false) - Number(b.edge ?? false));
  const services = roles.flatMap((role) => role.services);
  const comments = commentsOf(readImage());
  const bindings = services.flatMap((service) => service.methods.flatMap(httpBindingsOf));
  const schemas = new Schemas(
    comments,
    bindings.map(({ method }) => method.input),
    bindings.map(({ method }) => method.output),
  );
  const paths: Record<string, Record<string, Schema>> = {};
  for (const [index, binding] of bindings.entries()) {
    const nth = bindings.slice(0, index).filter(({ method }) => method === binding.method).length + 1;
    const path = (paths[binding.path.text] ??= {});
    path[binding.verb.toLowerCase()] = operation(binding, nth, comments, schemas);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "connect-commerce",
      version,
      description: INTRODUCTION.replaceAll(/\n(?![-\n])\s*/g, " "),
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: services
      .filter((service) => service.methods.some((method) => httpBindingsOf(method).length > 0))
      .map((service) => ({ name: tagOf(service), description: comments.get(service.typeName) ?? "" })),
    paths: Object.fromEntries(Object.entries(paths).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      schemas: { ...schemas.all(), Problem: PROBLEM },
      responses: { Problem: { description: "It was refused, or failed.", content: PROBLEM_CONTENT } },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "An access token, or the secret of an API key." },
      },
    },
  };
}

/** Services of one name are told apart by their role. */
function tagOf({ typeName, name }: DescService): string {
  const [, role = ""] = typeName.split(".");
  const short = name.replace(/Service$/, "");
  return short.toLowerCase() === role ? short : `${role[0]?.toUpperCase() ?? ""}${role.slice(1)}: ${short}`;
}

function operation(binding: HttpBinding, nth: number, comments: Comments, schemas: Schemas): Schema {
  const { method, verb, path } = binding;
  const comment = comments.get(`${method.parent.typeName}.${method.name}`) ?? "";
  const { level } = accessRule(method);
  return {
    operationId: `${tagOf(method.parent).replaceAll(": ", "")}_${method.name}${nth > 1 ? String(nth) : ""}`,
    tags: [tagOf(method.parent)],
    summary: inWords(method.name) + (nth > 1 ? `: ${verb} ${path.text.replace("/api/v1", "")}` : ""),
    description: [comment, accessOf(method), rateOf(method)].filter((text) => text !== "").join("\n\n"),
    security: level === "public" ? [] : [{ bearer: [] }],
    parameters: parametersOf(binding, schemas),
    ...(binding.body !== "none" && { requestBody: requestBody(binding, schemas) }),
    responses: {
      "200": method.methodKind === "unary" ? unaryAnswer(binding, schemas) : streamAnswer(method, schemas),
      ...(isRead(binding) && { "304": { description: "What the client has is still so." } }),
      "4XX": { $ref: "#/components/responses/Problem" },
      "5XX": { $ref: "#/components/responses/Problem" },
    },
  };
}

function isRead({ verb, method }: HttpBinding): boolean {
  return verb === "GET" && method.methodKind === "unary";
}

/** `BatchGetProducts` as `Batch get products`. */
function inWords(name: string): string {
  const words = name
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ")
    .toLowerCase()
    .replace("api", "API");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function accessOf(method: DescMethod): string {
  const { level, permission } = accessRule(method);
  if (level === "permission") return `Needs the permission \`${permission}\`.`;
  return level === "public" ? "Anybody may call it." : "";
}

function rateOf(method: DescMethod): string {
  const { name, calls, seconds } = rateLimit(method);
  return name === method.name ? `At most ${String(calls)} calls in ${String(seconds)} s.` : "";
}

function parametersOf(binding: HttpBinding, schemas: Schemas): Schema[] {
  const { method, pathFields, body } = binding;
  const inPath = [...pathFields].map(([name, path]) => parameter("path", name, path, schemas));
  const named = new Set([...pathFields.values()].map(([field]) => field));
  const rest = method.input.fields.filter((field) => !named.has(field) && field !== body);
  const key = method.input.fields.find(({ name }) => name === "idempotency_key");
  const resumes = resumeField(method);
  return [
    ...inPath,
    ...(body === "request" ? [] : rest.flatMap((field) => queryOf([field], schemas))),
    ...(key ? [header("Idempotency-Key", { ...schemas.field(key) })] : []),
    ...(isRead(binding)
      ? [header("If-None-Match", { type: "string", description: "The ETag of what is known." })]
      : []),
    ...(resumes === undefined
      ? []
      : [header("Last-Event-ID", { type: "string", description: `As \`${resumes}\`: resumes after this event.` })]),
  ];
}

function header(name: string, { description, ...schema }: Schema): Schema {
  return { name, in: "header", ...(description !== undefined && { description }), schema };
}

/** A field as parameters: one that is a message has one of each of its own fields. */
function queryOf(path: FieldPath, schemas: Schemas): Schema[] {
  const field: DescField | undefined = path.at(-1);
  if (field?.fieldKind === "message" && !field.message.typeName.startsWith("google.protobuf.")) {
    return field.message.fields.flatMap((inner) => queryOf([...path, inner], schemas));
  }
  const isMany = field?.fieldKind === "map" || (field?.fieldKind === "list" && field.listKind === "message");
  return isMany ? [] : [parameter("query", path.map(({ jsonName }) => jsonName).join("."), path, schemas)];
}

function parameter(place: "path" | "query", name: string, path: FieldPath, schemas: Schemas): Schema {
  const { description, ...schema } = schemas.field(path.at(-1) ?? path[0]);
  const isRequired = place === "path";
  return {
    name,
    in: place,
    ...(isRequired && { required: true }),
    ...(description !== undefined && { description }),
    schema,
  };
}

function requestBody({ method, body, pathFields }: HttpBinding, schemas: Schemas): Schema {
  const named = new Set([...pathFields.values()].map(([field]) => field.name));
  const schema = typeof body === "object" ? schemas.field(body) : schemas.message(method.input, named);
  const isNeeded =
    typeof body === "object" || method.input.fields.some((field) => !named.has(field.name) && isRequired(field));
  return { required: isNeeded, content: { "application/json": { schema } } };
}

function unaryAnswer(binding: HttpBinding, schemas: Schemas): Schema {
  const { output, idempotency } = binding.method;
  const isKeyed = idempotency !== Level.NO_SIDE_EFFECTS && "idempotencyKey" in binding.method.input.field;
  const headers = {
    ...(isRead(binding) && { ETag: { schema: { type: "string" } } }),
    ...(isKeyed && {
      "Idempotent-Replayed": {
        description: "`true` where the key was used before, and this is what was answered then.",
        schema: { type: "string" },
      },
    }),
  };
  return {
    description: "Done.",
    ...(Object.keys(headers).length > 0 && { headers }),
    content: { "application/json": { schema: schemas.message(output) } },
  };
}

/** As text: a schema of JSON would say of all lines together what is true of each. */
function streamAnswer({ output }: DescMethod, schemas: Schemas): Schema {
  const { $ref = "" } = schemas.message(output) as { readonly $ref?: string };
  const name = $ref.replace(/.*\//, "");
  const lines = `Lines of JSON, \`{"result": ${name}}\` each. The last may be \`{"error": Problem}\`.`;
  const events = `Events, the data of each a ${name}. Then \`end\`, or \`error\` with a Problem.`;
  return {
    description: "The stream, until it ends.",
    content: {
      "application/x-ndjson": { schema: { ...text, description: lines } },
      "text/event-stream": { schema: { ...text, description: events } },
    },
  };
}

const text = { type: "string" };

/** What src/platform/rest/problem.ts writes. */
const PROBLEM: Schema = {
  type: "object",
  description: "Why a call was refused, as RFC 9457 writes it.",
  required: ["type", "title", "status", "detail", "code", "reason"],
  properties: {
    type: { ...text, description: "`urn:connect-commerce:problem:<reason>`." },
    title: { ...text, description: "The reason in words." },
    status: { type: "integer", description: "Of HTTP." },
    detail: { ...text, description: "About this call." },
    code: { ...text, description: "The code of google.rpc, for example `FAILED_PRECONDITION`." },
    reason: { ...text, description: "From the closed list of docs/errors.md, for example `PRICE_CHANGED`." },
    metadata: { type: "object", description: "Values that belong to the reason.", additionalProperties: text },
    errors: {
      type: "array",
      description: "The faulty fields, all at once.",
      items: {
        type: "object",
        required: ["field", "description"],
        properties: { field: text, description: text, reason: text },
      },
    },
    preconditions: {
      type: "array",
      description: "What would have to hold.",
      items: { type: "object", properties: { type: text, subject: text, description: text } },
    },
    resource: {
      type: "object",
      description: "What there is not.",
      properties: { resourceType: text, resourceName: text },
    },
    quota: {
      type: "array",
      description: "What there was too much of.",
      items: { type: "object", properties: { subject: text, description: text } },
    },
    retryAfterMs: { type: "number", description: "Milliseconds after which to try again." },
  },
};

const PROBLEM_CONTENT = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
