import { expect, test } from "vitest";
import { startWorker } from "./worker.ts";

/** A worker whose runs a test ends one by one. */
function stepped(next: { readonly afterMs: number; readonly quiet?: boolean }) {
  const begun: (() => void)[] = [];
  let begins = Promise.withResolvers<void>();
  const worker = startWorker(async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    begun.push(resolve);
    begins.resolve();
    await promise;
    return next;
  });
  return {
    worker,
    begun,
    /** Ends the run at hand, and resolves when another begins. */
    another: async () => {
      begins = Promise.withResolvers();
      begun.at(-1)?.();
      await begins.promise;
    },
    end: () => begun.at(-1)?.(),
  };
}

test("a wake during a run causes another one at once, however many there were", async () => {
  const { worker, begun, another, end } = stepped({ afterMs: 60_000 });
  worker.wake();
  worker.wake();
  await another();
  expect(begun).toHaveLength(2);
  end();
  await worker.close();
  expect(begun).toHaveLength(2);
});

test("a wake ends the wait, unless the worker wants to be left alone", async () => {
  const { worker, begun, another, end } = stepped({ afterMs: 60_000 });
  const second = another();
  await new Promise(setImmediate);
  worker.wake();
  await second;
  end();
  await worker.close();
  expect(begun).toHaveLength(2);

  const quiet = stepped({ afterMs: 60_000, quiet: true });
  quiet.worker.wake();
  quiet.end();
  await new Promise(setImmediate);
  quiet.worker.wake();
  await quiet.worker.close();
  expect(quiet.begun).toHaveLength(1);
});

test("closing waits for the run under way", async () => {
  const { worker, end } = stepped({ afterMs: 0 });
  let closed = false;
  const closing = worker.close().then(() => (closed = true));
  await new Promise(setImmediate);
  expect(closed).toBe(false);
  end();
  await closing;
});
