/** Begins a piece of work of somebody, now or in a later turn of the event loop. */
export type Pacing = (whose: object, begin: () => void) => void;

/** No pacing: all work begins as it comes. */
export const beginAtOnce: Pacing = (_whose, begin) => {
  begin();
};

/**
 * Begins one piece of work in a turn of the event loop, and lets everybody who has some waiting take turns. So a client
 * that sends a thousand calls at once keeps nobody else waiting for more than one of them, and what it takes back before
 * its turn comes has cost nothing. Where nothing waits, work begins at once.
 */
export function createPacing(): Pacing {
  const waiting = new Map<object, (() => void)[]>();
  let hasBegun = false;

  function nextTurn(): void {
    const [first] = waiting;
    if (first === undefined) {
      hasBegun = false;
      return;
    }
    setImmediate(nextTurn);
    const [whose, own] = first;
    const begin = own.shift();
    waiting.delete(whose);
    // Behind everybody else.
    if (own.length > 0) waiting.set(whose, own);
    begin?.();
  }

  return (whose, begin) => {
    if (hasBegun) {
      const own = waiting.get(whose);
      if (own) own.push(begin);
      else waiting.set(whose, [begin]);
      return;
    }
    hasBegun = true;
    setImmediate(nextTurn);
    begin();
  };
}
