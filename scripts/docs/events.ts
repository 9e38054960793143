import type { EventSchema } from "../../src/platform/events/declaration.ts";
import { eventFields, topicOf, typeOf } from "../../src/platform/events/declaration.ts";
import { groupsOf } from "../../src/platform/events/role-events.ts";
import type { Registry } from "../../src/platform/role.ts";
import { registry as allRoles } from "../../src/roles/registry.ts";
import { commentAt, readImage } from "./image.ts";
import type { Page } from "./page.ts";
import { between, code, readPage, table } from "./page.ts";

const FILE = "docs/events.md";
const registry: Registry = allRoles;

/** The page with every event, who emits it and who consumes it, of the roles' declarations; the rest is by hand. */
export function eventPages(): Page[] {
  const text = between(readPage(FILE), "picture", picture());
  return [{ file: FILE, text: between(text, "catalogue", catalogue()) }];
}

function emitted(): EventSchema[] {
  return Object.values(registry).flatMap(({ events }) => events?.emits?.schema ?? []);
}

/** The roles that consume a type of event. */
function consumersOf(schema: EventSchema, localName: string): string[] {
  return Object.entries(registry).flatMap(([role, { events }]) =>
    events?.consumes?.some((consumed) => consumed.schema === schema && consumed.cases.includes(localName))
      ? [role]
      : [],
  );
}

function catalogue(): string {
  const files = readImage();
  return emitted()
    .map((schema) => {
      const file = files.find(({ name }) => name === `${schema.file.name}.proto`);
      const at = file?.messageType.findIndex(({ name }) => name === schema.name) ?? -1;
      const rows = eventFields(schema).map((field) => {
        // descriptor.proto: 4 is FileDescriptorProto.message_type, 2 is DescriptorProto.field.
        const comment = file ? commentAt(file, 4, at, 2, schema.fields.indexOf(field)) : "";
        const payload = field.message ? field.message.fields.map(({ name }) => code(name)).join(", ") : "";
        return [code(typeOf(schema, field)), comment, payload, consumersOf(schema, field.localName).join(", ")];
      });
      const title = `### ${topicOf(schema)}\n\n${code(schema.typeName)}`;
      return `${title}\n\n${table(["type", "what happened", "payload", "consumed by"], rows)}`;
    })
    .join("\n\n");
}

function picture(): string {
  const topics = emitted().map((schema) => `  ${topicOf(schema)}[(outbox of ${topicOf(schema)})] --> bus{{bus}}`);
  const groups = groupsOf(registry).map(
    ({ name, topics: from }) => `  bus -- ${from.join(", ")} --> ${name}[(inbox of ${name})]`,
  );
  return ["```mermaid", "flowchart LR", ...topics, ...groups, "```"].join("\n");
}
