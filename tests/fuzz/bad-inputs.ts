import type { DescField, DescMessage, DescMethod, JsonObject, MessageShape } from "@bufbuild/protobuf";
import { ScalarType, create, getOption, hasOption, toBinary, toJson } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { createValidator } from "@bufbuild/protovalidate";
import type { FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { Ignore, field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { toRest } from "../support/rest.ts";
import type { Payload, Wire } from "../support/wire.ts";
import type { Random } from "./generate.ts";

/** A request that has to be refused, and in which way it is bad. */
export interface BadInput {
  readonly how: string;
  readonly payload: Payload;
}

const validator = createValidator();

/** Bytes that are no message of any type. */
const unreadableBytes = [[0xff, 0xff, 0xff], [0x0a, 0x7f, 0x01], [0x04], [0x0f], Array(11).fill(0x80)];

/** JSON that is no message of any type. */
const unreadableJson = [
  "{",
  "[]",
  "null",
  '"x"',
  "\u0001",
  '{"id":',
  '{"no-such-field":1}',
  '{"__proto__":{"a":1}}',
  "{}{}",
];

/**
 * A request that breaks one constraint of its type, has a control character in a text, or cannot be read at all. What
 * the constraints themselves call right is never answered.
 */
export function badInput(method: DescMethod, wire: Wire, random: Random): BadInput {
  for (let tries = 0; tries < 4 && random.next() < 0.85; tries += 1) {
    const spoilt = spoil(method.input, random);
    const payload = spoilt && payloadOf(method, wire, spoilt.message);
    if (payload) return { how: spoilt.how, payload };
  }
  return {
    how: "unreadable",
    payload: { binary: new Uint8Array(random.pick(unreadableBytes) as number[]), json: random.pick(unreadableJson) },
  };
}

type AnyMessage = MessageShape<DescMessage>;

/** The message in both forms; undefined where this wire cannot carry it as it is. */
function payloadOf(method: DescMethod, wire: Wire, message: AnyMessage): Payload | undefined {
  try {
    const json = toJson(method.input, message);
    if (wire === "REST" && !toRest(method, json as JsonObject)) return undefined;
    return { binary: toBinary(method.input, message), json: JSON.stringify(json) };
  } catch {
    return undefined;
  }
}

/** A message that is right but for one value. Undefined: the type has nothing that could be wrong. */
function spoil(
  schema: DescMessage,
  random: Random,
): { readonly how: string; readonly message: AnyMessage } | undefined {
  const fields = constrainedFields(schema);
  if (fields.length === 0) return undefined;
  const message = rightMessage(schema);
  let target = reflect(schema, message);
  for (const step of random.pick(fields)) {
    const { field, isLast } = step;
    if (isLast) {
      const how = spoilField(target, field, random);
      const isBad = how === "control character" || validator.validate(schema, message).kind === "invalid";
      return how !== undefined && isBad ? { how, message } : undefined;
    }
    if (field.fieldKind === "message") {
      if (!target.isSet(field)) target.set(field, reflect(field.message, rightMessage(field.message)));
      target = target.get(field);
    } else if (field.fieldKind === "list" && field.listKind === "message") {
      const list = target.get(field);
      if (list.size === 0) list.add(reflect(field.message, rightMessage(field.message)));
      target = list.get(0) as typeof target;
    }
  }
  return undefined;
}

interface Step {
  readonly field: DescField;
  readonly isLast: boolean;
}

const constrained = new Map<DescMessage, readonly (readonly Step[])[]>();

/** The ways to every field, also in messages of messages, whose value can be wrong. */
function constrainedFields(schema: DescMessage, depth = 0): readonly (readonly Step[])[] {
  const known = depth === 0 ? constrained.get(schema) : undefined;
  if (known) return known;
  const found = schema.fields.flatMap((field): (readonly Step[])[] => {
    const rules = rulesOf(field);
    if (isIgnored(rules)) return [];
    const own = rules || isText(field) ? [[{ field, isLast: true }]] : [];
    const inner =
      depth < 3 && (field.fieldKind === "message" || field.fieldKind === "list") ? field.message : undefined;
    if (!inner || inner.typeName.startsWith("google.protobuf.")) return own;
    const ways = constrainedFields(inner, depth + 1).map((way) => [{ field, isLast: false }, ...way]);
    return [...own, ...ways];
  });
  if (depth === 0) constrained.set(schema, found);
  return found;
}

function isText(field: DescField): boolean {
  return field.fieldKind === "scalar" && field.scalar === ScalarType.STRING;
}

function rulesOf(field: DescField): FieldRules | undefined {
  return hasOption(field, fieldRules) ? getOption(field, fieldRules) : undefined;
}

/** Such parts are checked one by one, and refused one by one. */
function isIgnored(rules: FieldRules | undefined): boolean {
  const items = rules?.type.case === "repeated" ? rules.type.value.items : undefined;
  return rules?.ignore === Ignore.ALWAYS || items?.ignore === Ignore.ALWAYS;
}

type Reflected = ReturnType<typeof reflect>;

const LONGEST = 10_001;

/** Answers how; undefined where there is no way. */
function spoilField(target: Reflected, field: DescField, random: Random): string | undefined {
  switch (field.fieldKind) {
    case "scalar": {
      if (field.scalar === ScalarType.STRING && random.next() < 0.3) {
        target.set(field, `a${random.pick(["\u0000", "\u0007", "\u007f"])}b`);
        return "control character";
      }
      const [how, value] = random.pick(wrongScalars(field.scalar));
      target.set(field, value as never);
      return how;
    }
    case "enum":
      target.set(field, random.pick([0, 99, -1, 2_147_483_647]));
      return "enum";
    case "message":
      target.clear(field);
      return "missing message";
    case "list": {
      const list = target.get(field);
      const [how, length] = random.pick([
        ["empty list", 0],
        ["long list", 501],
        ["one wrong item", 1],
      ] as const);
      list.clear();
      for (let n = 0; n < length; n += 1) list.add(itemOf(field) as never);
      return how;
    }
    case "map": {
      if (field.mapKind !== "scalar") return undefined;
      const map = target.get(field);
      for (let n = 0; n < 101; n += 1) map.set(`key ${String(n)}`, "x" as never);
      return "large map";
    }
  }
}

function itemOf(field: DescField & { readonly fieldKind: "list" }): unknown {
  if (field.listKind === "message") return reflect(field.message, rightMessage(field.message));
  if (field.listKind === "enum") return 99;
  return field.scalar === ScalarType.STRING ? "" : 0;
}

function wrongScalars(type: ScalarType): readonly (readonly [string, unknown])[] {
  switch (type) {
    case ScalarType.STRING:
      return [
        ["empty text", ""],
        ["long text", "x".repeat(LONGEST)],
        ["text of another form", "no form\nfits ~ this é"],
        ["injection", "'; drop table users; --"],
      ];
    case ScalarType.INT64:
      return [
        ["number", 0n],
        ["number", -(2n ** 63n)],
        ["number", 2n ** 63n - 1n],
      ];
    case ScalarType.BOOL:
      return [["flag", false]];
    default:
      return [
        ["number", 0],
        ["number", -1],
        ["number", 2_147_483_647],
      ];
  }
}

/** By the name of a field, a text that its constraints let pass. */
const rightTexts: Readonly<Record<string, string>> = {
  email: "bad.input@example.com",
  currency_code: "EUR",
  country_code: "DE",
  permissions: "order.read",
  image_urls: "https://example.com/x.png",
  locale: "en",
  slug: "slug",
  code: "place",
  tax_category: "standard",
};

/** A message whose values are right as far as its constraints go: what is wrong with it then is one thing alone. */
function rightMessage(schema: DescMessage): AnyMessage {
  const message = create(schema);
  const target = reflect(schema, message);
  for (const field of schema.fields) {
    const rules = rulesOf(field);
    if (field.fieldKind === "scalar" && (rules?.ignore ?? Ignore.UNSPECIFIED) === Ignore.UNSPECIFIED && rules) {
      target.set(field, rightScalar(field, rules) as never);
    } else if (field.fieldKind === "message" && rules?.required) {
      target.set(field, reflect(field.message, rightMessage(field.message)));
    } else if (field.fieldKind === "list" && rules?.type.case === "repeated" && rules.type.value.minItems > 0n) {
      const item = field.listKind === "scalar" ? rightText(field, rules.type.value.items) : itemOf(field);
      target.get(field).add(item as never);
    }
  }
  return message;
}

function rightScalar(field: DescField & { readonly fieldKind: "scalar" }, rules: FieldRules): unknown {
  switch (field.scalar) {
    case ScalarType.STRING:
      return rightText(field, rules);
    case ScalarType.INT64:
      return 1n;
    case ScalarType.BOOL:
      return true;
    default:
      return 1;
  }
}

function rightText({ name }: DescField, rules: FieldRules | undefined): string {
  const string = rules?.type.case === "string" ? rules.type.value : undefined;
  if (string?.wellKnown.case === "uuid") return "01900000-0000-7000-8000-000000000000";
  return rightTexts[name] ?? "A".repeat(Math.max(Number(string?.minLen ?? 0), 3));
}
