import type { Client } from "pg";
import type { Job } from "./loops.ts";
import { openClients, sqlJob } from "./pg-clients.ts";

/** `COPY (…) TO STDOUT` read to its end; what is done are rows. The bytes are received and dropped. */
export async function copyJob({ url, query }: { readonly url: string; readonly query: string }): Promise<Job> {
  return sqlJob(await openClients(url, 1, false), async (client: Client) => {
    const { rowCount } = await client.query(`copy (${query}) to stdout`);
    return rowCount ?? 0;
  });
}
