import { pino } from "pino";
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
  return pino({
    ...base,
    transport: {
      target: "pino-pretty",
      options: { translateTime: "SYS:HH:MM:ss.l", ignore: "pid,hostname", singleLine: true },
    },
  });
}

/** Resolves when everything logged so far is written. */
export function flushLogs(log: Logger): Promise<void> {
  return new Promise((resolve) => {
    log.flush(() => {
      resolve();
    });
  });
}
