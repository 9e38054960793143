import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { holdsOnceAtRest } from "../journeys/checkout-shop.ts";
import { goesThroughOver, waitsForItsBuyer } from "../journeys/checkout-ways.ts";
import type { Installation } from "../support/installation.ts";
import { startInstallation, topologies } from "../support/installation.ts";
import type { OwnRabbitmq } from "../support/rabbitmq.ts";
import { rabbitmqIsInstalled, startOwnRabbitmq } from "../support/rabbitmq.ts";
import type { SmtpSink } from "../support/smtp-sink.ts";
import { startSmtpSink } from "../support/smtp-sink.ts";

/*
 * The ways of tests/journeys/checkout.test.ts whose events matter, over a broker.
 */

if (!rabbitmqIsInstalled()) process.stdout.write("no RabbitMQ on this machine: nobody checked out over one\n");

describe.skipIf(!rabbitmqIsInstalled())("over RabbitMQ", () => {
  let rabbitmq: OwnRabbitmq;
  let sink: SmtpSink;
  beforeAll(async () => {
    rabbitmq = await startOwnRabbitmq();
    sink = await startSmtpSink();
  }, 100_000);
  afterAll(async () => {
    await rabbitmq[Symbol.asyncDispose]();
    await sink[Symbol.asyncDispose]();
  });

  describe.each(topologies)("a checkout in %s", (topology) => {
    let shop: Installation;
    beforeAll(async () => {
      shop = await startInstallation(topology, {
        MAIL_URL: `smtp://${sink.host}:${String(sink.port)}`,
        BUS_URL: rabbitmq.url,
      });
    });
    afterAll(() => shop[Symbol.asyncDispose]());

    describe("whatever happens", { concurrent: true, timeout: 60_000 }, () => {
      goesThroughOver(["gRPC"], () => shop);
      waitsForItsBuyer(() => shop);
    });

    test("leaves no promise broken", async () => {
      expect(await holdsOnceAtRest(shop)).toContain("No promise is broken.");
    });
  });
});
