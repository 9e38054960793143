import type { Subject } from "../../platform/call.ts";
import { errors } from "../../platform/errors.ts";

/** Characters of a display name; those of the proto. */
const DISPLAY_NAME_LENGTH = 100;

/** How to address a user who did not say: the part of the email before the @. */
export function displayNameOf(email: string): string {
  return email.slice(0, email.lastIndexOf("@")).slice(0, DISPLAY_NAME_LENGTH);
}

/**
 * Lets users act on themselves, and on others with the permission. Anonymous callers get here only while the access
 * rule trusts them.
 * @throws AppError ACCESS_DENIED, whether the other user exists or not.
 */
export function checkActsFor(subject: Subject, userId: string, permission: string): void {
  if (subject.kind !== "user" || subject.id === userId || subject.permissions.includes(permission)) return;
  throw errors.ACCESS_DENIED();
}
