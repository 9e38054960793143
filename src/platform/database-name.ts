/** The database of a role where it has a server for itself or shares one: `orderdb`. The bus's is called `events`. */
export function databaseName(role: string): string {
  return role === "events" ? "events" : `${role}db`;
}
