import type { UserRole } from "./permission.ts";

/** The accounts of a shop that is tried out, all with {@link SAMPLE_PASSWORD}. */
export const SAMPLE_ACCOUNTS: readonly {
  readonly email: string;
  readonly name: string;
  readonly roles: UserRole[];
}[] = [
  { email: "admin@example.com", name: "Admin", roles: ["admin"] },
  { email: "shopper@example.com", name: "Shopper", roles: [] },
];

/** The password of the sample accounts; public, like them. */
export const SAMPLE_PASSWORD = "connect-commerce";
