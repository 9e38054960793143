import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { isMessage } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "./gen/google/rpc/status_pb.ts";
import { reasons } from "./gen/reasons.ts";

/** Every reason that the shop of this version gives; docs/errors.md of the shop says what to do about each. */
export type Reason = Exclude<keyof typeof reasons, "UNSPECIFIED">;

/** A field that breaks its rule. */
export interface FieldViolation {
  /** The path in the request, for example `items[3].quantity`. */
  readonly field: string;
  readonly description: string;
}

/**
 * Why the shop refused, of what a call threw or of the `error` of a result. Undefined for what the shop did not say (the
 * network, the app itself) and for a reason that is newer than this client.
 */
export function reasonOf(error: unknown): Reason | undefined {
  const name = detailOf(error, ErrorInfoSchema)?.reason ?? "";
  return isReason(name) ? name : undefined;
}

/** The values that belong to the reason, for example `current_version` with VERSION_MISMATCH. */
export function metadataOf(error: unknown): Readonly<Record<string, string>> {
  return detailOf(error, ErrorInfoSchema)?.metadata ?? {};
}

/** All fields that are wrong; none where the error is not about fields. */
export function violationsOf(error: unknown): readonly FieldViolation[] {
  const violations = detailOf(error, BadRequestSchema)?.fieldViolations ?? [];
  return violations.map(({ field, description }) => ({ field, description }));
}

/** Milliseconds after which the shop wants to be asked again; undefined where it does not say. */
export function retryDelayOf(error: unknown): number | undefined {
  const delay = detailOf(error, RetryInfoSchema)?.retryDelay;
  return delay && Number(delay.seconds) * 1_000 + delay.nanos / 1_000_000;
}

function isReason(name: string): name is Reason {
  return name !== "UNSPECIFIED" && Object.hasOwn(reasons, name);
}

function detailOf<D extends DescMessage>(error: unknown, desc: D): MessageShape<D> | undefined {
  if (!isMessage(error, StatusSchema)) return ConnectError.from(error).findDetails(desc)[0];
  return error.details.map((detail) => anyUnpack(detail, desc)).find((detail) => detail !== undefined);
}
