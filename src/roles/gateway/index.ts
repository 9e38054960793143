import { defineRole } from "../../platform/role.ts";
import { forwardService } from "./forward.ts";

/** The door for clients outside. No business rules: it serves what the other roles expose, by their descriptors. */
export default defineRole({
  config: {},
  start({ others, peers }) {
    return {
      services: Object.entries(others).flatMap(([role, { services }]) =>
        services.map((service) => forwardService(service, peers.outermost(role))),
      ),
    };
  },
});
