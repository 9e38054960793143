/** Numbers from 0 up to 1 that follow from a seed (mulberry32), so that a run can be repeated. */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number from 0 up to `below`. */
export function wholeOf(random: Random, below: number): number {
  return Math.floor(random() * below);
}

/** Moves each element by fewer than `within` places. */
export function shuffledWithin<T>(values: readonly T[], within: number, random: Random): T[] {
  return values
    .map((value, place) => ({ value, place: place + random() * within }))
    .sort((a, b) => a.place - b.place)
    .map(({ value }) => value);
}
