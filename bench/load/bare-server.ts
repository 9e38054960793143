import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** The least that Node can do for a call: reads the request to its end and answers the same bytes each time. */
export interface BareRequest {
  readonly body: string;
}

process.once("message", ({ body }: BareRequest) => {
  const bytes = Buffer.from(body);
  const head = { "content-type": "application/json", "content-length": bytes.length };
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => {
      response.writeHead(200, head).end(bytes);
    });
  });
  server.listen(0, "127.0.0.1", () => {
    process.send?.({ port: (server.address() as AddressInfo).port });
  });
});
process.on("disconnect", () => process.exit(0));
