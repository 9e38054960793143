// Written by scripts/generate-client.ts
import { ErrorReason } from "./commerce/common/v1/errors_pb.ts";
import { InventoryErrorReason } from "./commerce/inventory/v1/inventory_pb.ts";
import { OrderErrorReason } from "./commerce/order/v1/order_pb.ts";
import { PaymentErrorReason } from "./commerce/payment/v1/payment_pb.ts";
import { ProductErrorReason } from "./commerce/product/v1/product_pb.ts";
import { UserErrorReason } from "./commerce/user/v1/user_pb.ts";

/** The reasons of every part of the shop. */
export const reasons = { ...ErrorReason, ...InventoryErrorReason, ...OrderErrorReason, ...PaymentErrorReason, ...ProductErrorReason, ...UserErrorReason } as const;
