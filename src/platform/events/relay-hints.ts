import type { Bus } from "./bus.ts";

/** Milliseconds between two hints of one process: a relay that is busy reads on anyway. */
const EVERY_MS = 20;

/** Wakes the relays of a role in other processes, which hold the other partitions; without it they find out by polling. */
export interface RelayHints {
  send(): void;
  close(): void;
}

export function createRelayHints(bus: Bus, role: string, member: string, wake: () => void): RelayHints {
  const channel = `relay.${role}`;
  const own = Buffer.from(member);
  const subscription = bus.listen(channel, (sender) => {
    if (!own.equals(sender)) wake();
  });
  let timer: NodeJS.Timeout | undefined;
  let again = false;

  const send = () => {
    if (timer) {
      again = true;
      return;
    }
    void bus.broadcast(channel, own);
    timer = setTimeout(() => {
      timer = undefined;
      if (again) {
        again = false;
        send();
      }
    }, EVERY_MS);
    timer.unref();
  };

  return {
    send,
    close() {
      clearTimeout(timer);
      void subscription.close();
    },
  };
}
