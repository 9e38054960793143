import type { DescField, DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import type { Call } from "../../platform/call.ts";
import { subjectKey } from "../../platform/call.ts";
import type { Clock } from "../../platform/clock.ts";
import { accessRule } from "../../platform/rules/access.ts";
import type { Observe } from "../../platform/rules/observe.ts";
import type { AuditRecord } from "./audit-chain.ts";
import type { Audit } from "./audit.ts";

/** Fields that say what a call is about. */
const ID_FIELDS = ["id", "user_id", "sku"];

/** What may be in the log of what the platform knows: a short printable text. */
const PRINTABLE = /^[ -~]{1,100}$/;
/** What may be in it of a request, which may hold anything where it was refused: an id, or a SKU. */
const ID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i;
const SKU = /^[\w.-]{1,64}$/;

interface Audited {
  readonly name: string;
  readonly isStream: boolean;
  /** Recorded before it begins. */
  readonly hasIntent: boolean;
  /** Needs a permission: what it does is recorded durably before it is done. */
  readonly isPrivileged: boolean;
  readonly ids: readonly DescField[];
}

/** Records every call that may change something: who, what, with which result. Reads are not recorded. */
export function auditCalls({ audit, clock }: { readonly audit: Audit; readonly clock: Clock }): Observe {
  const methods = new Map<DescMethod, Audited | undefined>();

  return (call, input) => {
    if (!methods.has(call.method)) methods.set(call.method, auditedOf(call.method));
    const method = methods.get(call.method);
    if (!method) return undefined;
    const { hasIntent, isPrivileged } = method;
    // A stream may stay open for an hour: it keeps no room until it ends, or streams that do nothing would take all of it.
    const isStream = method.isStream;
    audit.reserve(hasIntent && !isStream ? 2 : 1);
    const base = baseOf(call, method, input);
    let isIntended = false;

    return {
      async begin() {
        if (!hasIntent) return;
        isIntended = true;
        const intent = { ...base, ...noOutcome, occurred_at: clock.now(), phase: "intent" } as const;
        if (isPrivileged) await audit.addDurably(intent);
        else audit.add(intent);
      },
      end(failure, traffic) {
        if (isStream && isIntended) audit.take(1);
        if (!isStream && hasIntent && !isIntended) audit.release(1);
        audit.add({
          ...base,
          occurred_at: clock.now(),
          phase: "outcome",
          code: failure?.kind ?? "ok",
          reason: failure ? printable(failure.reason) : null,
          received: traffic ? BigInt(traffic.received) : null,
          sent: traffic ? BigInt(traffic.sent) : null,
        });
      },
    };
  };
}

const noOutcome = { code: null, reason: null, received: null, sent: null };

/** Undefined of a method that changes nothing. */
function auditedOf(method: DescMethod): Audited | undefined {
  if (method.idempotency === Level.NO_SIDE_EFFECTS) return undefined;
  const isPrivileged = accessRule(method).level === "permission";
  return {
    name: `${method.parent.typeName}/${method.name}`,
    isPrivileged,
    isStream: method.methodKind !== "unary",
    // A stream may go on for an hour: that it began must not be known at its end only.
    hasIntent: isPrivileged || method.methodKind !== "unary",
    ids: method.input.fields.filter(isId),
  };
}

function isId(field: DescField): boolean {
  const isText = field.fieldKind === "scalar" && !field.oneof;
  return isText && ID_FIELDS.includes(field.name) && field.proto.options?.debugRedact !== true;
}

type Base = Pick<AuditRecord, "subject" | "method" | "request_id" | "client_address" | "resource_ids">;

function baseOf(call: Call, { name, ids }: Audited, input: unknown): Base {
  return {
    subject: printable(subjectKey(call.subject)) ?? "",
    method: name,
    request_id: call.requestId,
    client_address: printable(call.clientAddress),
    resource_ids: Object.fromEntries(ids.flatMap((field) => idIn(field, input))),
  };
}

function idIn({ name, localName }: DescField, input: unknown): [string, string][] {
  const value = (input as Readonly<Record<string, unknown>>)[localName];
  return typeof value === "string" && (name === "sku" ? SKU : ID).test(value) ? [[name, value]] : [];
}

function printable(value: unknown): string | null {
  return typeof value === "string" && PRINTABLE.test(value) ? value : null;
}
