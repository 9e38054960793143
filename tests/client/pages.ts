import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request as call } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";

/** Below this path are the consumer's files; all else is the shop's. */
const FILES = "/app/";

const TYPES: Readonly<Record<string, string>> = { js: "text/javascript", html: "text/html" };

const module = (path: string) => `${FILES}node_modules/${path}`;
const ofPackage = (name: string, parts: readonly string[]) =>
  parts.map((part) => [`${name}/${part}`, module(`${name}/dist/esm/${part}/index.js`)] as const);

/** Where a browser finds packages: as a bundler would read their package.json. */
const IMPORTS = Object.fromEntries([
  ["@connect-commerce/client", module("@connect-commerce/client/dist/index.js")],
  ["@connect-commerce/client/order", module("@connect-commerce/client/dist/gen/commerce/order/v1/order_pb.js")],
  ...["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"].map((name) => [
    name,
    module(`${name}/dist/esm/index.js`),
  ]),
  ...ofPackage("@bufbuild/protobuf", ["codegenv2", "reflect", "wire", "wkt"]),
  ...ofPackage("@connectrpc/connect", ["protocol", "protocol-connect", "protocol-grpc", "protocol-grpc-web"]),
]) as Record<string, string>;

const PAGE = `<!doctype html><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`;

/** Serves a page with the files of a folder, and the shop under the same origin. */
export async function servePages(folder: string, shop: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const serve = request.url?.startsWith(FILES)
      ? serveFile(folder, request.url, response)
      : pass(shop, request, response);
    serve.catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

async function serveFile(folder: string, url: string, response: ServerResponse): Promise<void> {
  const path = normalize(url.slice(FILES.length));
  const text = path === "page.html" ? PAGE : await readFile(join(folder, path), "utf8").catch(() => undefined);
  response.writeHead(text === undefined ? 404 : 200, {
    "content-type": TYPES[path.split(".").pop() ?? ""] ?? "text/plain",
  });
  response.end(text);
}

async function pass(shop: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = "GET", headers, url = "/" } = request;
  const onward = call(new URL(url, shop), { method, headers });
  response.on("close", () => onward.destroy());
  const [answers] = await Promise.all([once(onward, "response"), pipeline(request, onward)]);
  const answer = (answers as [IncomingMessage])[0];
  response.writeHead(answer.statusCode ?? 502, answer.headers);
  await pipeline(answer, response);
}
