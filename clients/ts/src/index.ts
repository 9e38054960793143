export { Code, ConnectError } from "@connectrpc/connect";
export type { FieldViolation, Reason } from "./errors.ts";
export { metadataOf, reasonOf, retryDelayOf, violationsOf } from "./errors.ts";
export type { Address } from "./gen/commerce/common/v1/address_pb.ts";
export type { Money } from "./gen/commerce/common/v1/money_pb.ts";
export type { LoggedOut } from "./session.ts";
export type { OpenIdLogin, Shop, ShopOptions } from "./shop.ts";
export { createShop } from "./shop.ts";
export type { Tokens, TokenStore } from "./tokens.ts";
