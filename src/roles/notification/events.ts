import { OrderEventSchema } from "#gen/commerce/order/v1/events_pb.ts";
import { UserEventSchema } from "#gen/commerce/user/v1/events_pb.ts";
import type { EventsDeclaration } from "../../platform/events/declaration.ts";
import { consumption } from "../../platform/events/declaration.ts";

export const userConsumption = consumption(UserEventSchema, 1, [
  "created",
  "loginAdded",
  "passwordChanged",
  "passwordResetRequested",
  "emailConfirmationRequested",
]);

export const orderConsumption = consumption(OrderEventSchema, 1, [
  "placed",
  "confirmed",
  "fulfilled",
  "rejected",
  "cancelled",
]);

export const notificationEvents = { consumes: [userConsumption, orderConsumption] } satisfies EventsDeclaration;
