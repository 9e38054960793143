import type { DescMethod } from "@bufbuild/protobuf";
import { getOption, hasOption } from "@bufbuild/protobuf";
import { AccessLevel, access } from "#gen/commerce/common/v1/access_pb.ts";
import type { Call, Subject } from "../call.ts";
import { errors } from "../errors.ts";

export interface AccessRule {
  readonly level: "public" | "authenticated" | "permission" | "internal";
  readonly permission: string;
  /** The roles that may call it by themselves. */
  readonly callers: readonly string[];
}

const levels: Readonly<Partial<Record<AccessLevel, AccessRule["level"]>>> = {
  [AccessLevel.PUBLIC]: "public",
  [AccessLevel.AUTHENTICATED]: "authenticated",
  [AccessLevel.PERMISSION]: "permission",
};

const ruleOf = new WeakMap<DescMethod, AccessRule>();

/** The access rule that a method's descriptor states. A missing one counts as internal. */
export function accessRule(method: DescMethod): AccessRule {
  let rule = ruleOf.get(method);
  if (!rule) {
    const option = hasOption(method, access) ? getOption(method, access) : undefined;
    rule = {
      level: (option && levels[option.level]) ?? "internal",
      permission: option?.permission ?? "",
      callers: option?.callers ?? [],
    };
    ruleOf.set(method, rule);
  }
  return rule;
}

/**
 * Whether a call may be made at all: by an outsider as the rule of the method says, by another role where it is named.
 * @throws AppError TOKEN_MISSING of nobody where somebody is needed, else ACCESS_DENIED
 */
export function checkAccess({ method, caller, outside, subject }: Call): void {
  const rule = accessRule(method);
  if (!outside) {
    if (caller !== undefined && rule.callers.includes(caller)) return;
    throw errors.ACCESS_DENIED();
  }
  switch (rule.level) {
    case "public":
      return;
    case "internal":
      throw errors.ACCESS_DENIED();
    case "authenticated":
      if (subject.kind === "anonymous") throw errors.TOKEN_MISSING();
      return;
    case "permission":
      if (subject.kind === "anonymous") throw errors.TOKEN_MISSING();
      if (holds(subject, rule.permission)) return;
      throw errors.ACCESS_DENIED();
  }
}

/**
 * Lets users act on what is theirs, and on another user's with the permission; a role acts for anybody. Checked before
 * existence: pass an empty owner where there is no such object.
 * @throws AppError ACCESS_DENIED, whether the object exists or not.
 */
export function checkActsFor(subject: Subject, ownerId: string, permission: string): void {
  if (subject.kind === "service") return;
  if (subject.kind === "user" && subject.id === ownerId) return;
  if (holds(subject, permission)) return;
  throw errors.ACCESS_DENIED();
}

function holds(subject: Subject, permission: string): boolean {
  return (subject.kind === "user" || subject.kind === "machine") && subject.permissions.includes(permission);
}
