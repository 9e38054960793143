import type { Window } from "../load/loops.ts";
import type { Plan } from "./figures.ts";
import type { Topology } from "./shop.ts";

/** What a run was asked for. */
export interface Settings {
  readonly topology: Topology;
  readonly rounds: number;
  readonly window: Window;
  /** Of ListProducts. */
  readonly products: number;
  /** Of each order; the bench's own number where it is left out. */
  readonly lines: number | undefined;
  /** Calls a second of the open loop; half of what the closed one reached where it is left out. */
  readonly rate: number | undefined;
}

export interface Bench {
  /** One sentence. */
  readonly about: string;
  /** Starts what it needs, and leaves it to the stack to end it. */
  open(settings: Settings, stack: AsyncDisposableStack): Promise<readonly Plan[]>;
}
