import { connect, constants } from "node:http2";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { until } from "../../tests/support/conditions.ts";
import { mountRawRoutes } from "./raw-routes.ts";
import { startServer } from "./server.fixture.ts";

test("half a body of a client that left is none, over HTTP/2 too", async () => {
  const bodies: string[] = [];
  const { url } = await startServer({
    http(app) {
      const handle = ({ body }: { readonly body: Uint8Array }) => {
        bodies.push(Buffer.from(body).toString());
        return Promise.resolve({ status: 200 });
      };
      const route = { method: "POST", path: "/hook", maxBytes: 1_000, access: "public", handle } as const;
      mountRawRoutes(app, "test", [route], pino({ level: "silent" }));
    },
  });
  const session = connect(url);
  onTestFinished(() => {
    session.destroy();
  });
  const send = () =>
    session.request({ ":method": "POST", ":path": "/-/test/hook", "content-type": "application/json" });
  const ping = () => new Promise((resolve) => session.ping(resolve));
  const left = send().on("error", () => undefined);
  left.write('{"half":');
  await ping();
  left.close(constants.NGHTTP2_CANCEL);
  await ping();
  const whole = send();
  whole.end('{"whole":1}');
  await until(() => bodies.length > 0);
  expect(bodies).toEqual(['{"whole":1}']);
});
