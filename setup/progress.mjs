// Owns: telling what goes on: one line that moves on a terminal, a line now and then where there is none.
//
// 1. All of it goes to standard error: the output of what is started afterwards stays clean.

/** Without a terminal: often enough to see that it lives, seldom enough for a log. */
const quietEveryMs = 15_000;
const movingEveryMs = 500;

/** @param {string} message */
export function say(message) {
  process.stderr.write(`leasehold: ${message}\n`);
}

/**
 * Shows `message` and the elapsed time while `work` runs.
 * @template T
 * @param {string} message
 * @param {() => Promise<T>} work
 * @param {() => number | undefined} [done] the part that is done, 0 to 1
 * @returns {Promise<T>}
 */
export async function during(message, work, done = () => undefined) {
  const moving = process.stderr.isTTY === true;
  const startedAt = performance.now();
  const seconds = () => Math.round((performance.now() - startedAt) / 1000);
  const line = () => {
    const part = done();
    const percent = part === undefined ? "" : ` ${Math.floor(part * 100)} %,`;
    return `${message}:${percent} ${seconds()} s`;
  };
  say(`${message} ...`);
  const timer = setInterval(
    () => (moving ? process.stderr.write(`\r\x1b[Kleasehold: ${line()}`) : say(line())),
    moving ? movingEveryMs : quietEveryMs,
  );
  let outcome = "failed";
  try {
    const result = await work();
    outcome = "done";
    return result;
  } finally {
    clearInterval(timer);
    process.stderr.write(moving ? "\r\x1b[K" : "");
    say(`${message}: ${outcome} in ${seconds()} s`);
  }
}
