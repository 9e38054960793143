/** What a user may be beside a customer. */
export type UserRole = "admin" | "support";

/**
 * What each role may do beside acting for itself; a customer, who has none, nothing. A permission is what an `access`
 * option or `checkActsFor` names; a test holds the list of `admin` against all of them.
 */
const PERMISSIONS: Readonly<Record<UserRole, readonly string[]>> = {
  support: [
    "notification.read",
    "order.read",
    "order.refund",
    "order.write",
    "payment.read",
    "stock.read",
    "user.read",
  ],
  admin: [
    "apikey.read",
    "apikey.write",
    "audit.read",
    "event.read",
    "event.write",
    "notification.read",
    "notification.write",
    "order.fulfil",
    "order.read",
    "order.refund",
    "order.write",
    "payment.read",
    "payment.write",
    "product.write",
    "stock.read",
    "stock.write",
    "user.grant",
    "user.read",
    "user.write",
  ],
};

/** The permissions of somebody with these roles, in alphabetical order, each once. */
export function permissionsOf(roles: readonly UserRole[]): string[] {
  return [...new Set(roles.flatMap((role) => PERMISSIONS[role]))].sort();
}

/** The roles in alphabetical order, each once: equal sets are equal lists. */
export function sortedRoles(roles: readonly UserRole[]): UserRole[] {
  return [...new Set(roles)].sort();
}
