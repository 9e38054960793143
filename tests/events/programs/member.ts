/**
 * A process of the bus for tests, started by fork: consumes a group, or listens to a channel, as its one argument says,
 * and tells its parent what it gets.
 */
import { pino } from "pino";
import { openBus } from "../../../src/platform/events/bus.ts";
import type { Group } from "../../../src/platform/events/bus.ts";

export interface MemberOrder {
  readonly url: string;
  readonly consume?: { readonly group: Group; readonly batch: number; readonly hangs?: boolean };
  readonly listen?: string;
}

/** What it tells: the texts that it begins to handle, or hears. */
export type MemberWord = readonly string[];

const order = JSON.parse(process.argv[2] ?? "{}") as MemberOrder;
const bus = await openBus({ url: order.url, name: "member", log: pino({ level: "silent" }) });

function tell(bodies: readonly Uint8Array[]): void {
  process.send?.(bodies.map((body) => Buffer.from(body).toString()));
}

if (order.consume) {
  const { group, batch, hangs = false } = order.consume;
  bus.consume(group, {
    batch,
    handle: (bodies) => {
      tell(bodies);
      return hangs ? new Promise(() => undefined) : Promise.resolve();
    },
  });
}
if (order.listen !== undefined) {
  bus.listen(order.listen, (body) => {
    tell([body]);
  });
}
process.on("disconnect", () => process.exit(0));
