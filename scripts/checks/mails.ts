import { command } from "./command.ts";

/** What mails are made of is what their MJML compiles to. */
export function mailsAreCurrent(): string {
  return command("node", "scripts/mails.ts", "--check");
}
