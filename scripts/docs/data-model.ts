import { Client } from "pg";
import { databaseName } from "../../src/platform/database-name.ts";
import type { Page } from "./page.ts";
import { code, table } from "./page.ts";

interface Column {
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly optional: boolean;
  /** Its default, or how it is generated; empty for none. */
  readonly value: string;
}

interface Constraint {
  readonly table: string;
  readonly name: string;
  readonly kind: "p" | "u" | "f" | "c" | "x" | "i";
  readonly definition: string;
  readonly columns: readonly string[];
  /** The table that a foreign key points to. */
  readonly target: string | null;
}

/** The tables of a role's database as they are. */
export interface DataModel {
  readonly role: string;
  readonly columns: readonly Column[];
  readonly constraints: readonly Constraint[];
}

const TABLES =
  "c.relkind in ('r', 'p') and not c.relispartition and n.nspname = 'public' and c.relname not like 'kysely_%'";

const COLUMNS = `
select c.relname as table, a.attname as name, format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as optional,
  coalesce(case when a.attidentity <> '' then 'identity' when a.attgenerated <> '' then 'generated' end,
    pg_get_expr(d.adbin, d.adrelid, true), '') as value
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where ${TABLES} and a.attnum > 0 and not a.attisdropped order by c.relname, a.attnum`;

/** Not null is said with the column. Unique indexes that are no constraint come after those that are. */
const CONSTRAINTS = `
select c.relname as table, k.conname as name, k.contype::text as kind, pg_get_constraintdef(k.oid, true) as definition,
  array(select a.attname::text from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any (k.conkey)) as columns,
  (select t.relname from pg_class t where t.oid = k.confrelid) as target,
  array_position(array['p', 'u', 'f', 'x', 'c'], k.contype::text) as rank
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where ${TABLES} and k.contype in ('p', 'u', 'f', 'x', 'c')
union all
select c.relname, x.relname, 'i', 'UNIQUE ' || substring(pg_get_indexdef(x.oid, 0, true) from ' USING (.*)$'), '{}', null, 6
from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class c on c.oid = i.indrelid
join pg_namespace n on n.oid = c.relnamespace
where ${TABLES} and i.indisunique and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
order by 1, rank, 2`;

export async function readDataModel(role: string, url: string): Promise<DataModel> {
  const client = new Client({ connectionString: url, application_name: "commerce-data-model" });
  await client.connect();
  try {
    const { rows: columns } = await client.query<Column>(COLUMNS);
    const { rows: constraints } = await client.query<Constraint>(CONSTRAINTS);
    return { role, columns: columns.map((column) => ({ ...column, type: short(column.type) })), constraints };
  } finally {
    await client.end();
  }
}

/** `timestamp(3) with time zone` as people write it. */
function short(type: string): string {
  return type.replace(/^timestamp(\(\d\))? with time zone/, "timestamptz$1").replaceAll("character varying", "varchar");
}

export function dataModelPage(models: readonly DataModel[]): Page {
  return {
    file: "docs/data-model.md",
    text: `# Data model

Written by \`npm run dump-schema\` from databases on which all migrations have run; edit \`migrations/\`. Each role owns one
database; nothing points from one to another but ids. The SQL, with every index, is in \`migrations/<role>/schema.sql\`.
Errors are mapped by the names of constraints. \`idempotency_keys\`, in each database, remembers for seven days what a
keyed call answered; see [ADR 4](adr/0004-idempotency-is-a-claim-in-the-stores-own-statement.md).

${models.map(section).join("\n\n")}
`,
  };
}

function section(model: DataModel): string {
  const tables = [...new Set(model.columns.map((column) => column.table))];
  const described = tables.map((name) => {
    const columns = model.columns
      .filter((column) => column.table === name)
      .map((column) => [code(column.name), column.type, column.optional ? "yes" : "", code(column.value)]);
    const constraints = model.constraints
      .filter((constraint) => constraint.table === name)
      .map((constraint) => `- \`${constraint.name}\`: \`${constraint.definition}\``);
    const list = table(["column", "type", "null", "default"], columns);
    return [`### ${model.role}: ${name}`, list, constraints.join("\n")].filter((part) => part !== "").join("\n\n");
  });
  return [`## ${model.role} (${databaseName(model.role)})`, picture(model, tables), ...described].join("\n\n");
}

/** Mermaid's types have no spaces; a foreign key that may be null is zero or one. */
function picture({ columns, constraints }: DataModel, tables: readonly string[]): string {
  const keysOf = (column: Column) => {
    const keys = constraints.filter((one) => one.table === column.table && one.columns.includes(column.name));
    const marks = ["p", "f", "u"].filter((kind) => keys.some((key) => key.kind === kind));
    return marks.map((mark) => ({ p: "PK", f: "FK", u: "UK" })[mark] ?? "").join(", ");
  };
  const entities = tables.map((name) => {
    const lines = columns
      .filter((column) => column.table === name)
      .map((column) =>
        `    ${column.type.replaceAll(" ", "_").replaceAll(",", "-")} ${column.name} ${keysOf(column)}`.trimEnd(),
      );
    return `  ${name} {\n${lines.join("\n")}\n  }`;
  });
  const lines = constraints.flatMap((key) => {
    if (key.kind !== "f" || key.target === null) return [];
    const optional = columns.some((one) => one.table === key.table && key.columns.includes(one.name) && one.optional);
    return `  ${key.target} ${optional ? "|o" : "||"}--o{ ${key.table} : "${key.columns.join(", ")}"`;
  });
  return ["```mermaid", "erDiagram", ...entities, ...lines, "```"].join("\n");
}
