import type { WithIdempotencyKeys } from "../../platform/idempotency.ts";

export type UserState = "active" | "deactivated";

export interface Users {
  id: string;
  /** As it was given; `users_email_key` makes it unique in lower case. */
  email: string;
  display_name: string;
  state: UserState;
  version: number;
  created_at: Date;
  updated_at: Date;
}

export interface UserTables extends WithIdempotencyKeys {
  users: Users;
}
