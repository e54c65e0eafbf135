/**
 * Owns: what of the environment of whoever runs the tests reaches the programs that they start.
 *
 * 1. Nothing that configures Leasehold, Postgres or git does: an exported `DATABASE_URL` is somebody's own database.
 * 2. The global set-up forgets it for the whole run; `cleanEnvironment` does for what a test sets by itself.
 */
const configuring = /^(LEASEHOLD_|DATABASE_|GIT_|PG)|^(SWEEPER_INTERVAL_HOURS|MAX_AGE_DAYS)$/;
const forTests = /^LEASEHOLD_(SOAK|SEED|TEST|INTEROP)/;

/** The environment for a program of ours, and `own` besides. */
export function cleanEnvironment(own: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !configuring.test(name));
  return { ...Object.fromEntries(inherited), ...own };
}

/** Takes it out of this process's environment, but for what the tests themselves read. */
export function forgetConfiguration(): void {
  for (const name of Object.keys(process.env)) {
    if (configuring.test(name) && !forTests.test(name)) delete process.env[name];
  }
}
