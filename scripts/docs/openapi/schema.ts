import type { DescEnum, DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import type { Comments } from "./comments.ts";
import { constraintsOf, isRequired } from "./constraints.ts";

/** A JSON Schema. */
export type Schema = Readonly<Record<string, unknown>>;

/** Writes messages and enums as named schemas, each once. */
export class Schemas {
  readonly #comments: Comments;
  readonly #written = new Map<string, { readonly typeName: string; readonly schema: Schema }>();
  /** The messages that requests are made of. */
  readonly #sent: ReadonlySet<DescMessage>;
  /** Those that answers are made of: a later release may add to them. */
  readonly #answered: ReadonlySet<DescMessage>;

  constructor(comments: Comments, requests: readonly DescMessage[], answers: readonly DescMessage[]) {
    this.#comments = comments;
    this.#sent = withParts(requests);
    this.#answered = withParts(answers);
  }

  /** All that was referred to, in the order of its names. */
  all(): Record<string, Schema> {
    const sorted = [...this.#written].toSorted(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(sorted.map(([name, { schema }]) => [name, schema]));
  }

  /** A reference to a message's schema; to one of its own where fields are left out that are said elsewhere. */
  message(message: DescMessage, without: ReadonlySet<string> = new Set()): Schema {
    const name = message.name + (without.size > 0 ? "Body" : "");
    return this.#reference(name, message.typeName + [...without].join(), () => this.#object(message, without));
  }

  /** The schema of a field, with what its comment and its constraints say. */
  field(field: DescField): Schema {
    const {
      items,
      additionalProperties,
      description = "",
      ...rules
    } = constraintsOf(field) as {
      readonly items?: Schema;
      readonly additionalProperties?: Schema;
      readonly description?: string;
    };
    const comment = this.#comments.get(`${field.parent.typeName}.${field.name}`) ?? "";
    const told = [comment, description].filter((text) => text !== "").join(" ");
    const shape = this.#shape(field, items ?? additionalProperties ?? {});
    return { ...shape, ...rules, ...(told !== "" && { description: told }) };
  }

  #reference(name: string, typeName: string, write: () => Schema): Schema {
    const known = this.#written.get(name);
    if (known && known.typeName !== typeName) throw new Error(`${typeName} and ${known.typeName} have one name`);
    if (!known) {
      // First its place: a message may contain itself.
      this.#written.set(name, { typeName, schema: {} });
      this.#written.set(name, { typeName, schema: write() });
    }
    return { $ref: `#/components/schemas/${name}` };
  }

  #object(message: DescMessage, without: ReadonlySet<string>): Schema {
    const fields = message.fields.filter(({ name }) => !without.has(name));
    const isSent = this.#sent.has(message);
    const required = fields.filter((field) => (isSent ? isRequired(field) : isAlwaysThere(field)));
    const description = this.#comments.get(message.typeName) ?? "";
    return {
      type: "object",
      ...(description !== "" && { description }),
      properties: Object.fromEntries(fields.map((field) => [field.jsonName, this.field(field)])),
      ...(required.length > 0 && { required: required.map(({ jsonName }) => jsonName) }),
      ...(!this.#answered.has(message) && { additionalProperties: false }),
    };
  }

  #shape(field: DescField, of: Schema): Schema {
    switch (field.fieldKind) {
      case "scalar":
        return scalar(field.scalar);
      case "enum":
        return this.#enum(field.enum);
      case "message":
        return this.#wellKnown(field.message);
      case "list": {
        if (field.listKind === "scalar") return { type: "array", items: { ...scalar(field.scalar), ...of } };
        return {
          type: "array",
          items: field.listKind === "enum" ? this.#enum(field.enum) : this.#wellKnown(field.message),
        };
      }
      case "map": {
        if (field.mapKind === "scalar") {
          return { type: "object", additionalProperties: { ...scalar(field.scalar), ...of } };
        }
        return {
          type: "object",
          additionalProperties: field.mapKind === "enum" ? this.#enum(field.enum) : this.#wellKnown(field.message),
        };
      }
    }
  }

  #wellKnown(message: DescMessage): Schema {
    switch (message.typeName) {
      case "google.protobuf.Timestamp":
        return { type: "string", format: "date-time" };
      case "google.protobuf.Any":
        return { type: "object", properties: { "@type": { type: "string" } }, additionalProperties: true };
      default:
        return this.message(message);
    }
  }

  #enum(type: DescEnum): Schema {
    return this.#reference(type.name, type.typeName, () => {
      const values = type.values.map(({ name }) => {
        return `- \`${name}\`: ${this.#comments.get(`${type.typeName}.${name}`) ?? ""}`;
      });
      const description = [this.#comments.get(type.typeName) ?? "", ...values].join("\n");
      return { type: "string", enum: type.values.map(({ name }) => name), description };
    });
  }
}

/** Fields without a presence of their own: answers have them all. */
function isAlwaysThere(field: DescField): boolean {
  if (field.fieldKind === "list" || field.fieldKind === "map") return true;
  return field.fieldKind !== "message" && field.presence !== 1 && !field.oneof;
}

function scalar(type: ScalarType): Schema {
  switch (type) {
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.FLOAT:
    case ScalarType.DOUBLE:
      return { type: "number" };
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return { type: "string", format: "int64", pattern: "^-?[0-9]+$" };
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return { type: "string", format: "uint64", pattern: "^[0-9]+$" };
    default:
      return { type: "integer", format: "int32" };
  }
}

function withParts(messages: readonly DescMessage[], found = new Set<DescMessage>()): ReadonlySet<DescMessage> {
  for (const message of messages) {
    if (found.has(message)) continue;
    found.add(message);
    withParts(
      message.fields.flatMap((field) => field.message ?? []),
      found,
    );
  }
  return found;
}
