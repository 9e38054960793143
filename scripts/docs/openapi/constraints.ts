import type { DescField } from "@bufbuild/protobuf";
import { getOption, hasOption } from "@bufbuild/protobuf";
import type { FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { Ignore, field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import type { Schema } from "./schema.ts";

/** What the constraints of a field say, in the words of JSON Schema. */
export function constraintsOf(field: DescField): Schema {
  const rules = rulesOf(field);
  return rules ? keywordsOf(rules) : {};
}

/** Whether a request without the field is refused. */
export function isRequired(field: DescField): boolean {
  const rules = rulesOf(field);
  if (!rules || rules.ignore !== Ignore.UNSPECIFIED) return false;
  if (rules.required) return true;
  return field.presence !== 1 && refusesZero(rules);
}

function rulesOf(field: DescField): FieldRules | undefined {
  return hasOption(field, fieldRules) ? getOption(field, fieldRules) : undefined;
}

function refusesZero({ type }: FieldRules): boolean {
  switch (type.case) {
    case "string":
      return (
        type.value.minLen > 0n ||
        type.value.wellKnown.case !== undefined ||
        (type.value.pattern !== "" && !new RegExp(type.value.pattern, "u").test(""))
      );
    case "repeated":
      return type.value.minItems > 0n;
    case "int32":
    case "int64":
    case "uint32":
      return Number(type.value.greaterThan.value ?? 0) > 0 || type.value.notIn.some((value) => Number(value) === 0);
    case "enum":
      return type.value.notIn.includes(0);
    default:
      return false;
  }
}

function keywordsOf({ type }: FieldRules): Schema {
  switch (type.case) {
    case "string": {
      const { minLen, maxLen, pattern, wellKnown } = type.value;
      return {
        ...(minLen > 0n && { minLength: Number(minLen) }),
        ...(maxLen > 0n && { maxLength: Number(maxLen) }),
        ...(pattern !== "" && { pattern }),
        ...(wellKnown.case && { format: wellKnown.case }),
      };
    }
    case "int32":
    case "uint32":
      return bounds(type.value);
    case "int64":
      return { description: inWords(bounds(type.value)) };
    case "repeated": {
      const { minItems, maxItems, unique, items } = type.value;
      return {
        ...(minItems > 0n && { minItems: Number(minItems) }),
        ...(maxItems > 0n && { maxItems: Number(maxItems) }),
        ...(unique && { uniqueItems: true }),
        ...(items && { items: keywordsOf(items) }),
      };
    }
    case "map": {
      const { maxPairs, keys, values } = type.value;
      return {
        ...(maxPairs > 0n && { maxProperties: Number(maxPairs) }),
        ...(keys && { propertyNames: keywordsOf(keys) }),
        ...(values && { additionalProperties: keywordsOf(values) }),
      };
    }
    default:
      return {};
  }
}

interface Bounds {
  readonly greaterThan: { readonly case?: string | undefined; readonly value?: number | bigint | undefined };
  readonly lessThan: { readonly case?: string | undefined; readonly value?: number | bigint | undefined };
}

function bounds({ greaterThan, lessThan }: Bounds): Readonly<Record<string, number>> {
  const name = { gt: "exclusiveMinimum", gte: "minimum", lt: "exclusiveMaximum", lte: "maximum" };
  const of = ({ case: kind, value }: Bounds["greaterThan"]): Record<string, number> =>
    kind && kind in name ? { [name[kind as keyof typeof name]]: Number(value) } : {};
  return { ...of(greaterThan), ...of(lessThan) };
}

/** The bounds of a number that JSON carries as text. */
function inWords({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Readonly<Record<string, number>>): string {
  const words = [
    minimum === undefined ? "" : `at least ${String(minimum)}`,
    exclusiveMinimum === undefined ? "" : `more than ${String(exclusiveMinimum)}`,
    maximum === undefined ? "" : `at most ${String(maximum)}`,
    exclusiveMaximum === undefined ? "" : `less than ${String(exclusiveMaximum)}`,
  ].filter((word) => word !== "");
  return words.length === 0 ? "" : `It is ${words.join(" and ")}.`;
}
