/** Characters of a display name; those of the proto. */
const DISPLAY_NAME_LENGTH = 100;

/** How to address a user who did not say: the part of the email before the @. */
export function displayNameOf(email: string): string {
  return email.slice(0, email.lastIndexOf("@")).slice(0, DISPLAY_NAME_LENGTH);
}
