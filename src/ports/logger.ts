/** The port to the log: fields first, then a sentence. Never a token, a request id of Acquire, or a credential. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
