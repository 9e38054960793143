/** What the compiler says to a program of the package; nobody runs it. */
import type { Reason } from "@connect-commerce/client";
import { createShop, reasonOf } from "@connect-commerce/client";
import { GatewayService } from "@connect-commerce/client/gateway";

export const known: Reason = "SKU_UNAVAILABLE";
// @ts-expect-error no part of the shop gives this reason
export const unknown: Reason = "SKU_UNAVAILBLE";

const shop = createShop({ baseUrl: "https://shop.example" });
export const keys = shop.client(GatewayService).listApiKeys({});

// @ts-expect-error roles alone reserve stock
export const reserve: unknown = shop.inventory.reserveStock;
// @ts-expect-error browsers cannot stream upwards
export const stream: unknown = shop.orders.createOrders;
// @ts-expect-error the shop's own login keeps the tokens
export const login: unknown = shop.auth.login;
// @ts-expect-error quantities are numbers
export const order = () => shop.orders.createOrder({ items: [{ sku: "MUG-1", quantity: "1" }] });

// @ts-expect-error a reason that is misspelt
export const isGone = (error: unknown): boolean => reasonOf(error) === "OUT_OF_STOK";
