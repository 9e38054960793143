import type { DescField, DescMessage, Message, MessageShape } from "@bufbuild/protobuf";
import { getOption, hasOption, isMessage } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { pathToString } from "@bufbuild/protobuf/reflect";
import type { Validator } from "@bufbuild/protovalidate";
import { createValidator } from "@bufbuild/protovalidate";
import type { FieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { Ignore, field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import type { FieldViolation } from "../errors.ts";
import { errors, invalidRequest } from "../errors.ts";

/** Checks messages; see {@link checkMessage}. Compiles the constraints of a schema once. */
export type MessageCheck = <D extends DescMessage>(schema: D, message: MessageShape<D>) => void;

export function createMessageCheck(): MessageCheck {
  const validator = createValidator();
  return (schema, message) => {
    checkMessage(validator, schema, message);
  };
}

/**
 * Checks a request against the constraints of its proto, every text for control characters (Postgres refuses NUL, and
 * protovalidate lets it pass), and every time for being one.
 * @throws AppError INVALID_REQUEST with all faulty fields at once.
 */
function checkMessage<D extends DescMessage>(validator: Validator, schema: D, message: MessageShape<D>): void {
  const fields: FieldViolation[] = [];
  const result = validator.validate(schema, message);
  if (result.kind === "error") throw errors.INTERNAL({ cause: result.error });
  if (result.kind === "invalid") {
    for (const { field, message: description, ruleId } of result.violations) {
      fields.push({ field: field.length > 0 ? pathToString(field) : ruleId, description: description || ruleId });
    }
  }
  findBadValues(schema, message, "", fields);
  if (fields.length > 0) throw invalidRequest(...fields);
}

// Tab, line feed and carriage return are text; the other C0 controls, DEL and lone surrogates are not.
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;

function isBadText(text: string): boolean {
  return control.test(text) || !text.isWellFormed();
}

function findBadValues(schema: DescMessage, message: Message, prefix: string, fields: FieldViolation[]): void {
  const values = message as unknown as Readonly<Record<string, unknown>>;
  for (const field of schema.fields) {
    if (ignored(field)) continue;
    const value = field.oneof ? oneofValue(values[field.oneof.localName], field) : values[field.localName];
    if (value === undefined) continue;
    findInField(field, value, `${prefix}${field.name}`, fields);
  }
}

function findInField(field: DescField, value: unknown, path: string, fields: FieldViolation[]): void {
  switch (field.fieldKind) {
    case "scalar":
      checkText(value, path, fields);
      return;
    case "message":
      if (isMessage(value, TimestampSchema)) checkTimestamp(value, path, fields);
      else if (isMessage(value)) findBadValues(field.message, value, `${path}.`, fields);
      return;
    case "list":
      (value as readonly unknown[]).forEach((item, index) => {
        if (field.listKind === "scalar") checkText(item, `${path}[${String(index)}]`, fields);
        else if (field.listKind === "message" && isMessage(item)) {
          findBadValues(field.message, item, `${path}[${String(index)}].`, fields);
        }
      });
      return;
    case "map":
      for (const [key, item] of Object.entries(value as Readonly<Record<string, unknown>>)) {
        checkText(key, path, fields);
        if (field.mapKind === "scalar") checkText(item, `${path}[${JSON.stringify(key)}]`, fields);
        else if (field.mapKind === "message" && isMessage(item)) {
          findBadValues(field.message, item, `${path}[${JSON.stringify(key)}].`, fields);
        }
      }
      return;
    case "enum":
      return;
  }
}

/** Seconds of the first and of the last moment that a Timestamp may be: those of the years 1 and 9999. */
const FIRST_SECOND = -62_135_596_800n;
const LAST_SECOND = 253_402_300_799n;

function checkTimestamp({ seconds, nanos }: Timestamp, path: string, fields: FieldViolation[]): void {
  if (seconds >= FIRST_SECOND && seconds <= LAST_SECOND && nanos >= 0 && nanos < 1_000_000_000) return;
  fields.push({ field: path, description: "must be a time from the year 1 to the year 9999" });
}

const ignoredFields = new WeakMap<DescField, boolean>();

/** Whether the constraints say IGNORE_ALWAYS, of the field or of its items: such parts are checked one by one, later. */
function ignored(field: DescField): boolean {
  let answer = ignoredFields.get(field);
  if (answer === undefined) {
    const rules: FieldRules | undefined = hasOption(field, fieldRules) ? getOption(field, fieldRules) : undefined;
    const items = rules?.type.case === "repeated" ? rules.type.value.items : undefined;
    answer = rules?.ignore === Ignore.ALWAYS || items?.ignore === Ignore.ALWAYS;
    ignoredFields.set(field, answer);
  }
  return answer;
}

function checkText(value: unknown, path: string, fields: FieldViolation[]): void {
  if (typeof value === "string" && isBadText(value)) {
    fields.push({ field: path, description: "must not contain control characters", reason: "INVALID_TEXT" });
  }
}

function oneofValue(oneof: unknown, field: DescField): unknown {
  const selected = oneof as { case?: string; value?: unknown } | undefined;
  return selected?.case === field.localName ? selected.value : undefined;
}
