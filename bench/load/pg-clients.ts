import { Client } from "pg";
import type { ClientConfig } from "pg";
import type { Job } from "./loops.ts";

/** Connections of their own, without a pool's bookkeeping; `work` has one for itself while it runs. */
export interface PgClients {
  with<T>(work: (client: Client) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** @param pipeline sends statements without waiting for the answer to the one before */
export async function openClients(url: string, count: number, pipeline: boolean): Promise<PgClients> {
  const config: ClientConfig & { pipeline: boolean } = { connectionString: url, pipeline };
  const all = Array.from({ length: count }, () => new Client(config));
  await Promise.all(all.map((client) => client.connect()));
  const idle = [...all];
  return {
    async with(work) {
      const client = idle.pop();
      if (!client) throw new Error("there are more callers than connections");
      try {
        return await work(client);
      } finally {
        idle.push(client);
      }
    },
    async close() {
      await Promise.all(all.map((client) => client.end()));
    },
  };
}

/** A job of one statement or transaction a call. */
export function sqlJob(clients: PgClients, work: (client: Client) => Promise<number>): Job {
  return { call: () => clients.with(work), close: () => clients.close() };
}

/** Sends a named statement, which the server plans once per connection. */
export function send(client: Client, name: string, text: string, values: readonly unknown[] = []) {
  return client.query({ name, text, values: [...values] });
}
