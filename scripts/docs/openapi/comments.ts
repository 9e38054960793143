import type { DescriptorProto, EnumDescriptorProto, FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import { commentAt } from "../image.ts";

/** The comments of all that the proto files declare, by its full name; a field is `commerce.order.v1.Order.id`. */
export type Comments = ReadonlyMap<string, string>;

/** Where descriptor.proto has the parts, see its SourceCodeInfo. */
const AT = { message: 4, enum: 5, service: 6, field: 2, nested: 3, nestedEnum: 4, value: 2, method: 2 };

export function commentsOf(files: readonly FileDescriptorProto[]): Comments {
  const comments = new Map<string, string>();
  for (const file of files) {
    const note = (name: string, path: readonly number[]) => comments.set(name, commentAt(file, ...path));
    const noteEnum = (scope: string, { name, value }: EnumDescriptorProto, path: readonly number[]) => {
      note(`${scope}.${name}`, path);
      for (const [index, each] of value.entries()) note(`${scope}.${name}.${each.name}`, [...path, AT.value, index]);
    };
    const noteMessage = (scope: string, message: DescriptorProto, path: readonly number[]) => {
      const name = `${scope}.${message.name}`;
      note(name, path);
      for (const [index, field] of message.field.entries()) note(`${name}.${field.name}`, [...path, AT.field, index]);
      for (const [index, each] of message.nestedType.entries()) noteMessage(name, each, [...path, AT.nested, index]);
      for (const [index, each] of message.enumType.entries()) noteEnum(name, each, [...path, AT.nestedEnum, index]);
    };
    for (const [index, each] of file.messageType.entries()) noteMessage(file.package, each, [AT.message, index]);
    for (const [index, each] of file.enumType.entries()) noteEnum(file.package, each, [AT.enum, index]);
    for (const [index, service] of file.service.entries()) {
      const name = `${file.package}.${service.name}`;
      note(name, [AT.service, index]);
      for (const [at, { name: method }] of service.method.entries()) {
        note(`${name}.${method}`, [AT.service, index, AT.method, at]);
      }
    }
  }
  return comments;
}
