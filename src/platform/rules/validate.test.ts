import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { BatchCreateOrdersRequestSchema, ListOrdersRequestSchema } from "#gen/commerce/order/v1/order_pb.ts";
import { AddProductRequestSchema } from "#gen/commerce/product/v1/product_pb.ts";
import { CreateUserRequestSchema } from "#gen/commerce/user/v1/user_pb.ts";
import { AppError } from "../errors.ts";
import { createMessageCheck } from "./validate.ts";

const check = createMessageCheck();

/** The fields that a message is refused for. */
function faults<D extends DescMessage>(schema: D, init: MessageInitShape<D>): [string, string | undefined][] {
  try {
    check(schema, create(schema, init));
    return [];
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.details.fields?.map(({ field, reason }) => [field, reason]) ?? [];
  }
}

test("all faulty fields are named at once, by their path in the proto", () => {
  const price = { currencyCode: "eur", amountMinor: 1n };
  const request = {
    title: "",
    variants: [
      { sku: "A", price },
      { sku: "-", price },
    ],
  };
  expect(faults(AddProductRequestSchema, request).map(([field]) => field)).toEqual([
    "title",
    "variants[0].price.currency_code",
    "variants[1].sku",
    "variants[1].price.currency_code",
  ]);
});

test("control characters and lone surrogates are no text, wherever they stand; line ends and tabs are", () => {
  const price = { currencyCode: "EUR", amountMinor: 1n };
  const variants = [{ sku: "A", price, options: { size: "L\u0000" } }];
  const request = {
    title: "a\u0007",
    description: "two\r\n\tlines",
    attributes: { "a\u0001": "x", b: "\ud800" },
    imageUrls: ["https://e.com/\u007f"],
    variants,
  };
  expect(faults(AddProductRequestSchema, request)).toEqual([
    ["title", "INVALID_TEXT"],
    ['variants[0].options["size"]', "INVALID_TEXT"],
    ["attributes", "INVALID_TEXT"],
    ['attributes["b"]', "INVALID_TEXT"],
    ["image_urls[0]", "INVALID_TEXT"],
  ]);
  expect(faults(CreateUserRequestSchema, { email: "a@example.com", displayName: "Zoë 🛒" })).toEqual([]);
});

test("a time is one from the year 1 to the year 9999", () => {
  const at = (seconds: bigint, nanos = 0) =>
    faults(ListOrdersRequestSchema, { createdSince: { seconds, nanos } }).map(([field]) => field);
  expect(at(0n)).toEqual([]);
  expect(at(-62_135_596_800n)).toEqual([]);
  expect(at(253_402_300_799n, 999_999_999)).toEqual([]);
  expect(at(253_402_300_800n)).toEqual(["created_since"]);
  expect(at(-62_135_596_801n)).toEqual(["created_since"]);
  expect(at(0n, -1)).toEqual(["created_since"]);
  expect(at(2n ** 62n)).toEqual(["created_since"]);
});

test("what is checked one by one later is not checked here", () => {
  const orders = [{ idempotencyKey: "a\u0000", items: [] }];
  expect(faults(BatchCreateOrdersRequestSchema, { orders })).toEqual([]);
});
