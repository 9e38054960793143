import type { LogLine, ServerProcess } from "../support/process.ts";
import type { Failure, Load } from "./load.ts";

/**
 * What a process that was told to stop owes its callers.
 *
 * It accepted a call when it began it. It then owes an answer, and the answer has to arrive. Three looks, each of which
 * would see what the others do not:
 *
 * 1. Its own log has a line for each call that it began, with the code it answered: all of them `ok`. A watch, which
 *    has no end of its own, may be told to come back: OVERLOADED.
 * 2. Each such answer reached the caller: the client where the gateway stops, else the gateway, or order, whose own line
 *    with that request id is then `ok` too. An answer that only came with a second attempt counts as lost.
 * 3. A call without a line there, that failed, was never begun: what its caller saw proves it (`neverBegun`). A
 *    connection that breaks while a call is on it proves nothing, so it counts as a call that was accepted and failed.
 *
 * And no order is answered with a replay: that would be an order that was placed, and whose answer got lost. How a call
 * of order to a role failed is not in its log; the first two looks are what there is for those.
 *
 * @param stalled request ids of calls whose reader does not read: these cannot be answered
 */
export function acceptedAndFailed(
  stopped: ServerProcess,
  role: string,
  logOf: (caller: string) => readonly LogLine[],
  load: Load,
  stalled: ReadonlySet<string>,
): string[] {
  const lines = stopped.log.filter((line) => isCallOfLoad(line) && !stalled.has(String(line["requestId"])));
  const found: string[] = [];
  for (const line of lines) {
    const { code, reason, requestId } = line;
    if (code !== "ok" && !(isWatch(line) && reason === "OVERLOADED")) {
      found.push(`answered ${String(code)} ${String(reason)}: ${nameOf(line)}`);
    }
    if (line["role"] !== "gateway" || code !== "ok") continue;
    if (!load.delivered.has(String(requestId))) found.push(`the client did not get: ${nameOf(line)}`);
  }
  if (role !== "gateway") found.push(...lostBetweenRoles(lines, logOf, load));
  return found;
}

function lostBetweenRoles(
  lines: readonly LogLine[],
  logOf: (caller: string) => readonly LogLine[],
  load: Load,
): string[] {
  const found: string[] = [];
  const callers = new Map(["gateway", "order"].map((role) => [role, byRequest(logOf(role), role)]));
  for (const [key, answers] of groupBy(lines.filter(isAnswerToRole), callKey)) {
    const [answer] = answers;
    if (!answer) continue;
    const calls = callers.get(String(answer["caller"]))?.get(String(answer["requestId"])) ?? [];
    const stream = load.streams.get(String(answer["requestId"]));
    // One call of order asks once; the orders of a stream are many such calls under one request id.
    const asked = answer["caller"] === "order" && stream ? stream.sent : calls.length;
    const failed =
      answer["caller"] === "order" && stream ? stream.refused : calls.filter(({ code }) => code !== "ok").length;
    if (answers.length + failed > asked) found.push(`the caller did not get: ${key}`);
  }
  return found;
}

/** How the calls between the processes, or from the client, failed that were not answered. */
export function unanswered(failures: readonly Failure[], callers: readonly LogLine[]): string[] {
  const atClients = failures.filter(({ reasons }) => reasons.length === 0).map(({ cause }) => cause);
  const betweenRoles = callers
    .filter((line) => isCallOfLoad(line) && line["reason"] === "PEER_DOWN" && line["cause"] !== undefined)
    // The word of another role, which has a line of its own.
    .filter(({ cause }) => !/^\w+: PEER_DOWN|A service that this call needs/.test(String(cause)))
    .map(({ cause }) => String(cause).replace(/127\.0\.0\.1:\d+/, "the port"));
  return [...atClients, ...betweenRoles];
}

/** Nobody listens; the stream was refused with GOAWAY; the breaker let nothing through. */
export const neverBegun = /ECONNREFUSED|REFUSED_STREAM|circuit breaker is open/;

/** Neither what sets the load up, logging in among it, nor what roles ask for themselves, as order's saga does. */
function isCallOfLoad({ msg, method, caller }: LogLine): boolean {
  const isOther = /CreateUser|AddProduct|AuthService|InventoryService|PaymentService/.test(String(method));
  return msg === "rpc" && caller !== "payment" && !isOther;
}

function isAnswerToRole({ code, caller }: LogLine): boolean {
  return code === "ok" && caller !== undefined;
}

function isWatch({ method }: LogLine): boolean {
  return String(method).endsWith("/WatchOrder");
}

function nameOf(line: LogLine): string {
  return `${String(line["role"])} ${callKey(line)}`;
}

function callKey({ method, requestId, caller }: LogLine): string {
  return `${String(method)} ${String(requestId)} of ${typeof caller === "string" ? caller : "a client"}`;
}

function byRequest(log: readonly LogLine[], role: string): Map<string, LogLine[]> {
  return groupBy(
    log.filter((line) => line["role"] === role && isCallOfLoad(line)),
    ({ requestId }) => String(requestId),
  );
}

function groupBy<T>(all: readonly T[], keyOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  return groups;
}
