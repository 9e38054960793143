/**
 * Maps a stream with at most `limit` items at work; results come as they are done, not in order. No item is pulled
 * while `limit` of them are at work or wait to be read, so a slow reader holds back the source. When the source fails,
 * what is at work is still delivered before the failure is.
 */
export async function* mapConcurrently<T, R extends object>(
  source: AsyncIterable<T>,
  limit: number,
  work: (item: T) => Promise<R>,
): AsyncIterable<R> {
  const iterator = source[Symbol.asyncIterator]();
  const done: R[] = [];
  let atWork = 0;
  let pulling = false;
  let ended = false;
  let failure: { readonly error: unknown } | undefined;
  let changed = Promise.withResolvers<undefined>();

  const change = () => {
    changed.resolve(undefined);
    changed = Promise.withResolvers();
  };
  const fail = (error: unknown) => {
    failure ??= { error };
    ended = true;
    change();
  };
  const failWork = (error: unknown) => {
    atWork -= 1;
    fail(error);
  };

  function pull(): void {
    if (pulling || ended || atWork + done.length >= limit) return;
    pulling = true;
    iterator.next().then((next) => {
      pulling = false;
      if (next.done) {
        ended = true;
      } else {
        atWork += 1;
        work(next.value).then((result) => {
          atWork -= 1;
          done.push(result);
          change();
        }, failWork);
      }
      change();
    }, fail);
  }

  try {
    for (;;) {
      pull();
      const wait = changed.promise;
      const result = done.shift();
      if (result !== undefined) yield result;
      else if (ended && atWork === 0) break;
      else await wait;
    }
    if (failure) throw failure.error;
  } finally {
    if (!ended) void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
