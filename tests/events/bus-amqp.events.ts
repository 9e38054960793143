import { afterAll, beforeAll, describe } from "vitest";
import { rabbitmqIsInstalled, startOwnRabbitmq } from "../support/rabbitmq.ts";
import { startProxy } from "../support/tcp-proxy.ts";
import { quickContract } from "./bus-contract.ts";
import { faultContract } from "./bus-faults.ts";
import type { Broker } from "./bus-support.ts";
import { report } from "./bus-support.ts";

/** A broker that is there already; then the tests that stop it are left out. */
const given = process.env["BUS_AMQP_URL"];
const absent = given === undefined && !rabbitmqIsInstalled();
if (absent) report("no RabbitMQ on this machine: the amqp half was not run (apt-get install rabbitmq-server)");

describe.skipIf(absent)("the bus on RabbitMQ", () => {
  const open = new AsyncDisposableStack();
  let broker: Broker;

  beforeAll(async () => {
    if (given !== undefined) {
      const proxy = open.use(await startProxy(given));
      broker = { url: proxy.url, drop: proxy.drop };
      return;
    }
    const server = open.use(await startOwnRabbitmq());
    const proxy = open.use(await startProxy(server.url));
    broker = {
      url: proxy.url,
      drop: proxy.drop,
      // RabbitMQ 3.10 writes the names of its quorum queues when it ends, or some minutes later.
      settle: async () => {
        await server.stop("SIGTERM");
        await server.start();
      },
      crash: () => server.stop("SIGKILL"),
      start: () => server.start(),
    };
  });

  afterAll(() => open.disposeAsync());

  quickContract(() => broker);
  faultContract(() => broker);
});
