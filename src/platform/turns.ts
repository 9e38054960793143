import { errors } from "./errors.ts";

/** Milliseconds after which a call that found no place is worth another try. */
const RETRY_AFTER_MS = 1_000;

interface Turn {
  readonly about: ReadonlySet<string>;
  readonly begin: () => void;
}

const nothing: ReadonlySet<string> = new Set();

/**
 * Runs work first come, first served, so many at once: what waits here holds no connection, no thread and no lock. The
 * function throws AppError OVERLOADED where too many wait already, and the reason of the signal where it has aborted when
 * the turn comes.
 *
 * Work may say what it is `about`, such as the rows that it locks. The places that are `kept` are then only for what nobody
 * is at work on, so that work which waits for one lock never takes them all.
 */
export function createTurns(
  atOnce: number,
  mostWaiting: number,
  kept = 0,
): <T>(signal: AbortSignal | undefined, work: () => Promise<T>, about?: ReadonlySet<string>) => Promise<T> {
  const waiting: Turn[] = [];
  const open = { free: atOnce - kept };
  const spare = { free: kept };
  const atWork = new Map<Turn, typeof open>();

  const isAlone = ({ about }: Turn) => {
    for (const other of atWork.keys()) for (const what of other.about) if (about.has(what)) return false;
    return true;
  };

  const begins = (turn: Turn): boolean => {
    const place = open.free > 0 ? open : spare;
    if (place.free === 0 || (place === spare && !isAlone(turn))) return false;
    place.free -= 1;
    atWork.set(turn, place);
    return true;
  };

  const end = (turn: Turn): void => {
    const place = atWork.get(turn);
    if (place) place.free += 1;
    atWork.delete(turn);
    // Whoever is done hands its place on, so that nobody who comes later takes it.
    for (let at = waiting.findIndex(begins); at >= 0; at = waiting.findIndex(begins)) waiting.splice(at, 1)[0]?.begin();
  };

  return async (signal, work, about = nothing) => {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const turn = {
      about,
      begin: () => {
        resolve(undefined);
      },
    };
    if (!begins(turn)) {
      if (waiting.length >= mostWaiting) throw errors.OVERLOADED({ retryAfterMs: RETRY_AFTER_MS });
      waiting.push(turn);
      await promise;
    }
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      end(turn);
    }
  };
}
