import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { FastifyInstance } from "fastify";
import { fastify } from "fastify";

const DOCUMENT = new URL("../../../docs/openapi.json", import.meta.url);
const SCRIPT = "/docs/js/scalar.js";
const CACHED = "public, max-age=60";

interface Docs {
  readonly page: string;
  readonly policy: string;
  /** Its script, gzip. */
  readonly script: Buffer;
}

/** Serves the API as an OpenAPI document, `/openapi.json`, and as a page to read and to try it, `/docs/`. */
export function docsRoutes(app: FastifyInstance): void {
  let loading: Promise<Docs> | undefined;
  let document: Buffer | undefined;
  const load = async (): Promise<Docs> => {
    loading ??= loadDocs();
    // Made anew with the next request, should it fail.
    loading.catch(() => (loading = undefined));
    return loading;
  };

  app.get("/openapi.json", async (_request, reply) => {
    document ??= await readFile(DOCUMENT);
    return reply.type("application/json").header("cache-control", CACHED).send(document);
  });
  app.get("/docs", async (_request, reply) => reply.redirect("/docs/"));
  app.get("/docs/", async (_request, reply) => {
    const { page, policy } = await load();
    return reply
      .type("text/html; charset=utf-8")
      .headers({ "cache-control": CACHED, "content-security-policy": policy })
      .send(page);
  });
  app.get(SCRIPT, async (_request, reply) => {
    const { script } = await load();
    // Every browser takes gzip.
    return reply
      .type("text/javascript; charset=utf-8")
      .headers({ "cache-control": CACHED, "content-encoding": "gzip" })
      .send(script);
  });
}

/**
 * The page as its library makes it, in a server of its own that is asked twice: megabytes are loaded when somebody reads
 * the page, and no start pays for them.
 */
async function loadDocs(): Promise<Docs> {
  const { default: scalar } = await import("@scalar/fastify-api-reference");
  const app = fastify();
  await app.register(scalar, {
    routePrefix: "/docs",
    configuration: {
      url: "/openapi.json",
      pageTitle: "connect-commerce API",
      favicon: "data:,",
      authentication: { preferredSecurityScheme: "bearer" },
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      showDeveloperTools: "never",
      agent: { disabled: true },
      mcp: { disabled: true },
    },
  });
  const [{ body: page }, { rawPayload }] = await Promise.all([app.inject("/docs/"), app.inject(SCRIPT)]);
  return { page, policy: policyOf(page), script: await promisify(gzip)(rawPayload) };
}

/** The page loads nothing from elsewhere, calls nobody but this server, and runs no script but its own two. */
function policyOf(page: string): string {
  const inline = [...page.matchAll(/<script[^>]*>([^<]+)<\/script>/g)].map(([, code = ""]) => {
    return `'sha256-${createHash("sha256").update(code).digest("base64")}'`;
  });
  return [
    "default-src 'none'",
    `script-src 'self' ${inline.join(" ")}`,
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}
