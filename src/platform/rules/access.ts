import type { DescMethod } from "@bufbuild/protobuf";
import { getOption, hasOption } from "@bufbuild/protobuf";
import { AccessLevel, access } from "#gen/commerce/common/v1/access_pb.ts";
import type { Call, Subject } from "../call.ts";
import { errors } from "../errors.ts";

/**
 * Until callers can log in, an anonymous one passes AUTHENTICATED and permission rules; every listener binds to
 * loopback meanwhile. INTERNAL is enforced all the same.
 */
export const ANONYMOUS_CALLERS_ARE_TRUSTED = true;

export interface AccessRule {
  readonly level: "public" | "authenticated" | "permission" | "internal";
  readonly permission: string;
}

/** The access rule that a method's descriptor states. A missing one counts as internal. */
export function accessRule(method: DescMethod): AccessRule {
  if (!hasOption(method, access)) return { level: "internal", permission: "" };
  const option = getOption(method, access);
  switch (option.level) {
    case AccessLevel.PUBLIC:
      return { level: "public", permission: "" };
    case AccessLevel.AUTHENTICATED:
      return { level: "authenticated", permission: "" };
    case AccessLevel.PERMISSION:
      return { level: "permission", permission: option.permission };
    default:
      return { level: "internal", permission: "" };
  }
}

const ruleOf = new WeakMap<DescMethod, AccessRule>();

/** @throws AppError ACCESS_DENIED where the call's subject may not call the method. */
export function checkAccess(call: Call): void {
  let rule = ruleOf.get(call.method);
  if (!rule) {
    rule = accessRule(call.method);
    ruleOf.set(call.method, rule);
  }
  switch (rule.level) {
    case "public":
      return;
    case "internal":
      if (!call.outside) return;
      throw errors.ACCESS_DENIED();
    case "authenticated":
      if (call.subject.kind !== "anonymous" || ANONYMOUS_CALLERS_ARE_TRUSTED) return;
      throw errors.ACCESS_DENIED();
    case "permission":
      if (mayDo(call, rule.permission)) return;
      throw errors.ACCESS_DENIED();
  }
}

/**
 * Lets users act on what is theirs, and on another user's with the permission. Checked before existence: pass an empty
 * owner where there is no such object.
 * @throws AppError ACCESS_DENIED, whether the object exists or not.
 */
export function checkActsFor(subject: Subject, ownerId: string, permission: string): void {
  if (subject.kind === "anonymous" && ANONYMOUS_CALLERS_ARE_TRUSTED) return;
  if (subject.kind === "service") return;
  if (subject.kind === "user" && (subject.id === ownerId || subject.permissions.includes(permission))) return;
  throw errors.ACCESS_DENIED();
}

function mayDo(call: Call, permission: string): boolean {
  if (call.subject.kind === "service") return true;
  if (call.subject.kind === "anonymous") return ANONYMOUS_CALLERS_ARE_TRUSTED;
  return call.subject.permissions.includes(permission);
}
