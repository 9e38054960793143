import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import { serve } from "../../platform/call.ts";
import { createOnce } from "../../platform/idempotency.ts";
import { defineRole } from "../../platform/role.ts";
import { createUserRpc } from "./rpc.ts";
import type { UserTables } from "./schema.ts";

export default defineRole({
  config: {},
  start(context) {
    const db = context.database<UserTables>();
    const { pages, clock } = context;
    return { services: [serve(UserService, createUserRpc({ db, once: createOnce(db), pages, clock }))] };
  },
});
