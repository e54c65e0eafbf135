/**
 * Owns how the server logs: JSON lines on standard error, or lines for people on a terminal.
 *
 * Invariants:
 * 1. Standard output stays free of logs.
 * 2. No line carries a bearer token, a lease token or the user and password of a URL, whoever wrote it:
 *    every finished line is searched for them.
 */
import { type DestinationStream, type Logger, pino } from "pino";
import { prettyFactory } from "pino-pretty";

export type Log = Logger;
export type LogLevel = "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";
export type LogFormat = "auto" | "json" | "pretty";

export interface LogOptions {
  readonly level: LogLevel;
  /** `auto`: pretty if standard error is a terminal, else JSON. */
  readonly format: LogFormat;
  /** Where finished lines go; standard error unless a test reads them. */
  readonly destination?: DestinationStream;
}

const secrets: readonly (readonly [RegExp, string])[] = [
  // over http(s) even a user alone is a secret; `git@host:path` and `ssh://git@host` are none
  [/(https?:\/\/)[^\s"\\/@]+@/gi, "$1[redacted]@"],
  [/([a-z][a-z0-9+.-]*:\/\/)[^\s"\\/@:]*:[^\s"\\/@]*@/gi, "$1[redacted]@"],
  [/\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+/gi, "$1 [redacted]"],
  // a lease token without its signature is the lease's public name
  [/\b(w[1-9]\d*\.[1-9]\d*)\.[A-Za-z0-9_-]{43}/g, "$1.[redacted]"],
];

const secretKeys = ["authorization", "password", "token", "leaseToken", "lease_token", "requestId", "request_id"];

/** Takes secrets out of a text that is about to be shown or logged. */
export function redact(text: string): string {
  return secrets.reduce((clean, [pattern, replacement]) => clean.replace(pattern, replacement), text);
}

export function createLog(options: LogOptions): Log {
  const isTerminal = process.stderr.isTTY === true;
  const isPretty = options.format === "pretty" || (options.format === "auto" && isTerminal);
  const plain = options.destination ?? pino.destination({ dest: 2, sync: true });
  const forPeople = prettyFactory({ colorize: isTerminal });
  const stream = isPretty ? { write: (line: string) => void plain.write(forPeople(line)) } : plain;
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: secretKeys.flatMap((key) => [`message.${key}`, `headers.${key}`, `*.headers.${key}`]),
        censor: "[redacted]",
      },
      hooks: { streamWrite: redact },
    },
    stream,
  );
}
