import { pino } from "pino";
import { PinoPretty as pretty } from "pino-pretty";
import type { Logger as PinoLogger } from "pino";

export type Logger = PinoLogger;

export interface LoggerOptions {
  readonly level: string;
  /** `pretty` for people, `json` (one object a line, on standard output) for everything else. */
  readonly format: "pretty" | "json";
}

/** The logger of this process; `close` writes out what is still buffered. */
export function createLogger(options: LoggerOptions): Logger {
  const base = { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  if (options.format === "json") {
    return pino({ ...base, formatters: { level: (label) => ({ level: label }) } });
  }
  const stream = pretty({
    translateTime: "SYS:HH:MM:ss.l",
    singleLine: true,
    messageFormat: (line) => sentence(line),
    ignore: "pid,hostname,caller,msg,role,requestId,method,code,reason,ms",
  });
  return pino(base, stream);
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

/** Resolves when everything logged so far is written. */
export function flushLogs(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    log.flush(() => {
      resolve();
    });
  });
}
