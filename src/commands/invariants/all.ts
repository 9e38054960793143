import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import type { Registry } from "../../platform/role.ts";
import { registry as allRoles } from "../../roles/registry.ts";
import type { Invariant } from "./check.ts";
import { eventInvariants } from "./events.ts";
import { orderInvariants } from "./orders.ts";
import { providerInvariant } from "./provider.ts";
import { rowInvariants } from "./rows.ts";

const registry: Registry = allRoles;

/** The roles that have a database. */
export const owners = Object.keys(registry).filter((role) => registry[role]?.database);

const declarations: Readonly<Record<string, EventsDeclaration>> = Object.fromEntries(
  Object.entries(registry).flatMap(([role, { events }]) => (events ? [[role, events] as const] : [])),
);
const emitters = Object.keys(declarations).filter((role) => declarations[role]?.emits);

/**
 * Every promise that the databases show, in the order of their numbers. What needs to know what clients saw (I7 to I9 and
 * I16) is checked by the tests alone.
 * @param lateSeconds after which work that is not done counts as forgotten
 */
export function allInvariants(lateSeconds: number): readonly Invariant[] {
  const all = [
    ...rowInvariants({ owners, emitters, lateSeconds }),
    ...orderInvariants,
    providerInvariant,
    ...eventInvariants(declarations, lateSeconds),
  ];
  return all.toSorted((a, b) => Number(a.invariant.slice(1)) - Number(b.invariant.slice(1)));
}
