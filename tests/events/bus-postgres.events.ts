import { pino } from "pino";
import { afterAll, beforeAll, describe } from "vitest";
import { migrateBus } from "../../src/platform/events/migrate-bus.ts";
import { startOwnServer } from "../support/own-postgres.ts";
import { startProxy } from "../support/tcp-proxy.ts";
import { quickContract } from "./bus-contract.ts";
import { faultContract } from "./bus-faults.ts";
import type { Broker } from "./bus-support.ts";

describe("the bus on Postgres", () => {
  const open = new AsyncDisposableStack();
  let broker: Broker;

  beforeAll(async () => {
    const server = open.use(await startOwnServer(["events"]));
    const url = server.urlOf("events");
    await migrateBus(url, pino({ level: "warn" }));
    const proxy = open.use(await startProxy(url));
    broker = {
      url: proxy.url,
      drop: proxy.drop,
      crash: () => server.stop("immediate"),
      start: () => server.start(),
    };
  });

  afterAll(() => open.disposeAsync());

  quickContract(() => broker);
  faultContract(() => broker);
});
