import type { DescField, DescMessage, MessageShape } from "@bufbuild/protobuf";
import { clone } from "@bufbuild/protobuf";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { Interceptor } from "@connectrpc/connect";
import { randomText } from "./random.ts";

/** Gives each call that takes an idempotency key one where the caller gave none: it can then be repeated safely. */
export const giveKeys: Interceptor = (next) => (request) => {
  if (request.stream || !takesKeys(request.method.input)) return next(request);
  return next({ ...request, message: withKeys(request.method.input, request.message) });
};

/** Whether a request has a key, or many requests in it have one each, as in BatchCreateOrders. */
export function takesKeys({ fields }: DescMessage): boolean {
  return fields.some((field) => isKey(field) || (isBatch(field) && field.message.fields.some(isKey)));
}

const isKey = ({ name }: DescField) => name === "idempotency_key";

function isBatch(field: DescField): field is DescField & { fieldKind: "list"; listKind: "message" } {
  return field.fieldKind === "list" && field.listKind === "message";
}

function withKeys<D extends DescMessage>(desc: D, message: MessageShape<D>): MessageShape<D> {
  // The caller may use its own message again, for another call.
  const copy = clone(desc, message);
  fill(reflect(desc, copy));
  return copy;
}

function fill(message: ReflectMessage): void {
  for (const field of message.fields) {
    if (isKey(field) && message.get(field) === "") message.set(field, randomText());
    if (isBatch(field)) for (const item of message.get(field) as Iterable<ReflectMessage>) fill(item);
  }
}
