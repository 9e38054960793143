import type { DescMethod } from "@bufbuild/protobuf";
import { getOption, hasOption } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { rate_limit } from "#gen/commerce/common/v1/rate_limit_pb.ts";

/** So many calls in so many seconds, of one caller. */
export interface RateLimit {
  /** What is counted together: the method, or all `reads` or `writes` that have no limit of their own. */
  readonly name: string;
  readonly calls: number;
  readonly seconds: number;
}

const READS: RateLimit = { name: "reads", calls: 1_200, seconds: 60 };
const WRITES: RateLimit = { name: "writes", calls: 300, seconds: 60 };

const limitOf = new WeakMap<DescMethod, RateLimit>();

/** The rate limit that a method's descriptor states; without one, that of all reads or of all other calls. */
export function rateLimit(method: DescMethod): RateLimit {
  let limit = limitOf.get(method);
  if (!limit) {
    if (hasOption(method, rate_limit)) {
      const { calls, seconds } = getOption(method, rate_limit);
      limit = { name: method.name, calls, seconds };
    } else limit = method.idempotency === Level.NO_SIDE_EFFECTS ? READS : WRITES;
    limitOf.set(method, limit);
  }
  return limit;
}
