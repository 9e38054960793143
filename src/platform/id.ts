import { v7 } from "uuid";

/** A new UUIDv7: sorts by the time it was made, which halves the cost of a B-tree insert against v4. */
export function newId(): string {
  return v7();
}
