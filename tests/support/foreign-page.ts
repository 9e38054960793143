import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import { normalize } from "node:path";

const top = new URL("../../", import.meta.url);

const entry = (name: string) => `/node_modules/${name}/dist/esm/index.js`;
const partsOf = (name: string, parts: readonly string[]) =>
  parts.map((part) => [`${name}/${part}`, `/node_modules/${name}/dist/esm/${part}/index.js`]);

/** Where the page finds what a bundler would have found: the packages as they are published, and the client's code. */
const imports = Object.fromEntries([
  ...["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"].map((name) => [name, entry(name)]),
  ...partsOf("@bufbuild/protobuf", ["codegenv2", "reflect", "wire", "wkt"]),
  ...partsOf("@connectrpc/connect", ["protocol", "protocol-connect", "protocol-grpc", "protocol-grpc-web"]),
  ["#gen/", "/clients/ts/src/gen/"],
]) as Record<string, string>;

const PAGE = `<!doctype html>
<title>A page of another origin</title>
<script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">
  import { drive } from "/tests/support/programs/shop-page.ts";
  const settings = JSON.parse(new URLSearchParams(location.search).get("settings"));
  window.results = drive(settings).catch((error) => ({ failed: String(error) }));
</script>`;

/** Serves a page that drives a shop elsewhere, at an origin of its own; `url` is that origin. */
export async function serveForeignPage(port: number): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.writeHead(404).end());
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://localhost:${String(port)}`,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

async function serve({ url = "/" }: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = normalize(new URL(url, top).pathname);
  if (path === "/") {
    response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    return;
  }
  const text = await readFile(new URL(`.${path}`, top), "utf8");
  const script = path.endsWith(".ts") ? stripTypeScriptTypes(text) : text;
  // Another page of the same browser need not ask again.
  response.writeHead(200, { "content-type": "text/javascript", "cache-control": "max-age=600" }).end(script);
}
