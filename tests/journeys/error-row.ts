import type { DescMethod } from "@bufbuild/protobuf";
import type { Payload } from "../support/wire.ts";

/** What is there when the rows of the error table are sent. */
export interface World {
  readonly userId: string;
  readonly email: string;
  /** In stock; one unit is held by an order that waits for its payment. */
  readonly sku: string;
  readonly dollars: string;
  readonly productId: string;
  /** Of an order that is cancelled. */
  readonly orderId: string;
  readonly cancelledKey: string;
  /** Of an order that is confirmed: one unit, 595 cents. */
  readonly confirmedId: string;
  /** Of an order that is rejected: there was no stock. */
  readonly rejectedId: string;
}

/** A call that is refused. */
export interface Row {
  readonly name: string;
  readonly method: DescMethod;
  readonly payload: (world: World) => Payload;
  readonly compressed?: boolean;
  /** Leaves out what the path of REST names. */
  readonly pathless?: boolean;
  readonly code: string;
  readonly reason: string;
  /** The faulty ones. */
  readonly fields?: readonly string[];
}

export const row = (
  name: string,
  method: DescMethod,
  payload: Row["payload"],
  code: string,
  reason: string,
  fields?: readonly string[],
): Row => ({ name, method, payload, code, reason, ...(fields && { fields }) });

export const item = (sku: string, quantity = 1) => ({ sku, quantity });
