import { pino } from "pino";
import type { Logger as PinoLogger } from "pino";

export type Logger = PinoLogger;

export interface LoggerOptions {
  readonly level: string;
  /** `pretty` for people, `json` (one object a line, on standard output) for everything else. */
  readonly format: "pretty" | "json";
}

/**
 * The logger of this process. Each line is written when it is logged, so there is nothing to flush at the end, and
 * nothing that would wait for a reader who has gone.
 */
export async function createLogger(options: LoggerOptions): Promise<Logger> {
  const base = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: withoutRow },
  };
  if (options.format === "json") {
    const lines = pino.destination({ dest: 1, sync: true });
    return pino({ ...base, formatters: { level: (label) => ({ level: label }) } }, lines);
  }
  const { PinoPretty: pretty } = await import("pino-pretty");
  const stream = pretty({
    sync: true,
    translateTime: "SYS:HH:MM:ss.l",
    singleLine: true,
    messageFormat: (line) => sentence(line),
    ignore: "pid,hostname,caller,msg,role,requestId,method,code,reason,ms",
  });
  return pino(base, stream);
}

/** An error without the row that Postgres quotes (`Failing row contains (…)`): it may be a person's. */
function withoutRow(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { detail: _detail, where: _where, ...told } = pino.stdSerializers.err(error);
  return told;
}

/** What a person reads of a line: of a call its role, method, code, reason, milliseconds and request id. */
function sentence(line: Readonly<Record<string, unknown>>): string {
  const { role, method, code, reason, ms, requestId, msg } = line;
  if (method === undefined) return [role, msg, requestId].filter(isSaid).join(" ");
  const time = typeof ms === "number" ? `${String(ms)} ms` : msg;
  return [role, method, code, reason, time, requestId].filter(isSaid).join(" ");
}

function isSaid(value: unknown): boolean {
  return value !== undefined && value !== "";
}
