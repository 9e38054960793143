import { GatewayService } from "#gen/commerce/gateway/v1/gateway_pb.ts";
import { InventoryService } from "#gen/commerce/inventory/v1/inventory_pb.ts";
import { DeadLetterService, NotificationService } from "#gen/commerce/notification/v1/notification_pb.ts";
import { DeadLetterService as OrderDeadLetterService, OrderService } from "#gen/commerce/order/v1/order_pb.ts";
import { PaymentService } from "#gen/commerce/payment/v1/payment_pb.ts";
import { ProductService } from "#gen/commerce/product/v1/product_pb.ts";
import { AuthService } from "#gen/commerce/user/v1/auth_pb.ts";
import { UserService } from "#gen/commerce/user/v1/user_pb.ts";
import type { Registry } from "../platform/role.ts";
import { inventoryEvents } from "./inventory/events.ts";
import { notificationEvents } from "./notification/events.ts";
import { orderEvents } from "./order/events.ts";
import { paymentEvents } from "./payment/events.ts";
import { productEvents } from "./product/events.ts";
import { userEvents } from "./user/events.ts";

/** Every role there is. Ports, names in the environment, databases and what the gateway exposes follow from this. */
export const registry = {
  gateway: {
    port: 8080,
    services: [GatewayService],
    database: true,
    edge: true,
    alias: "APIGATEWAY",
    load: () => import("./gateway/index.ts"),
  },
  user: {
    port: 8081,
    services: [UserService, AuthService],
    database: true,
    events: userEvents,
    load: () => import("./user/index.ts"),
  },
  product: {
    port: 8082,
    services: [ProductService],
    database: true,
    events: productEvents,
    load: () => import("./product/index.ts"),
  },
  order: {
    port: 8083,
    services: [OrderService, OrderDeadLetterService],
    database: true,
    events: orderEvents,
    load: () => import("./order/index.ts"),
  },
  payment: {
    port: 8084,
    services: [PaymentService],
    database: true,
    events: paymentEvents,
    load: () => import("./payment/index.ts"),
  },
  inventory: {
    port: 8085,
    services: [InventoryService],
    database: true,
    events: inventoryEvents,
    load: () => import("./inventory/index.ts"),
  },
  notification: {
    port: 8086,
    services: [NotificationService, DeadLetterService],
    database: true,
    events: notificationEvents,
    load: () => import("./notification/index.ts"),
  },
  sandbox: {
    port: 8094,
    services: [],
    database: true,
    load: () => import("./sandbox/index.ts"),
  },
} satisfies Registry;
