import type { Message } from "./channel.ts";
import type { Sender } from "./mail-config.ts";

/** The Message-ID of a message: the same in each attempt, so that programs know it for one. */
export function messageIdOf(message: Pick<Message, "id">, sender: Sender): string {
  return `<${message.id}@${sender.host}>`;
}

/** The headers beside those that every mail has. */
export function headersOf({ unsubscribeUrl }: Message): Record<string, string> {
  return {
    // RFC 3834: nobody's automatic answer is to come back.
    "Auto-Submitted": "auto-generated",
    // RFC 8058: the mail program's own button.
    ...(unsubscribeUrl !== undefined && {
      "List-Unsubscribe": `<${unsubscribeUrl}>`,
      "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }),
  };
}
